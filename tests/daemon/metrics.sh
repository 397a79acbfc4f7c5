#!/bin/sh
# What --openmetrics prints is read by Prometheus' own parser, and says the same as --json.
. "$(dirname "$0")/common.sh"

if ! "$python" -c 'import prometheus_client.openmetrics.parser' 2>/dev/null; then
        echo "skipped: python3-prometheus-client is not installed"
        exit 77
fi
start_patient work hold
expect 0 "$ctl" stat --openmetrics work
mv "$tmp/out" "$tmp/metrics"
expect 0 "$ctl" stat --json work
"$python" - "$tmp/metrics" "$tmp/out" <<'END' || fail "the metrics"
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
families = {f.name: f for f in text_string_to_metric_families(open(sys.argv[1]).read())}
stat = json.load(open(sys.argv[2]))
assert len(families) > 40, len(families)
for name, value in stat["heap"].items():
    family = families["shmalloc_heap_" + name]
    assert family.documentation and family.unit, name
    [sample] = family.samples
    assert sample.labels == {"heap": "work"}, sample
    assert sample.value == value, (name, sample.value, value)
    assert family.type in ("gauge", "counter")
[cached] = families["shmalloc_client_cached_bytes"].samples
assert cached.labels["name"] == "patient" and cached.value == stat["clients"][0]["cached_bytes"]
sizes = {s.labels["size"]: s.value for s in families["shmalloc_class_allocated_blocks"].samples}
assert sum(sizes.values()) == stat["heap"]["allocated_blocks"], sizes
print("ok:", len(families), "metrics")
END
end_patient
