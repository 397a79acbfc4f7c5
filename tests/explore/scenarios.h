/*
 * scenarios.h - what is explored.
 */
#ifndef EXPLORE_SCENARIOS_H
#define EXPLORE_SCENARIOS_H

#include "explore/world.h"

extern const struct scenario scenario_fill_fill;

#endif
