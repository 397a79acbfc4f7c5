#include "explore/scenarios.h"

const struct scenario *const world_scenarios[] = {
        &scenario_fill_fill,
        NULL,
};
