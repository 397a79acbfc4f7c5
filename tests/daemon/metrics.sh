#!/bin/sh
# What --openmetrics prints is read by Prometheus' own parser, and says the same as --json; and the dashboard for
# Grafana asks for nothing else.
. "$(dirname "$0")/common.sh"

if ! "$python" -c 'import prometheus_client.openmetrics.parser' 2>/dev/null; then
        echo "skipped: python3-prometheus-client is not installed"
        exit 77
fi
start_patient work hold
expect 0 "$ctl" stat --openmetrics work
mv "$tmp/out" "$tmp/metrics"
expect 0 "$ctl" stat --json work
"$python" - "$tmp/metrics" "$tmp/out" "$(dirname "$0")/../../daemon/grafana/shmalloc.json" <<'END' || fail "the metrics"
import json, re, sys
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

# The dashboard: of the form that Grafana reads, and each metric and label that it names is there.
samples = {s.name: set(s.labels) for f in families.values() for s in f.samples}
board = json.load(open(sys.argv[3]))
assert board["schemaVersion"] >= 36 and board["uid"] and board["title"], board.keys()
assert {"templating", "time", "panels", "annotations"} <= set(board), board.keys()
variables = {v["name"]: v for v in board["templating"]["list"]}
assert variables["datasource"]["type"] == "datasource" and variables["heap"]["type"] == "query"
queries = [("variable heap", variables["heap"]["query"]["query"])]
ids, taken = set(), set()
for panel in board["panels"]:
    assert panel["type"] in ("timeseries", "stat") and panel["title"] and panel["description"], panel
    assert panel["id"] not in ids, panel["id"]
    ids.add(panel["id"])
    at = panel["gridPos"]
    assert 0 <= at["x"] and at["x"] + at["w"] <= 24 and at["h"] > 0, at
    cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
    assert not cells & taken, panel["title"]
    taken |= cells
    assert panel["fieldConfig"]["defaults"]["unit"] in ("bytes", "short", "ops", "percentunit"), panel
    assert len({t["refId"] for t in panel["targets"]}) == len(panel["targets"]) > 0, panel["title"]
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == "${datasource}", target
        queries.append((panel["title"], target["expr"]))
        shown = set(re.findall(r"{{([a-z_]+)}}", target["legendFormat"]))
        [first, *_] = re.findall(r"shmalloc_[a-z_]+", target["expr"])
        kept = {"heap"} if target["expr"].startswith("sum by (heap)") else samples[first]
        assert "heap" in shown and shown <= kept, (target, kept)
assert len(ids) >= 10, ids
for where, query in queries:
    names = re.findall(r"shmalloc_[a-z_]+", query)
    assert names and query.count("(") == query.count(")") and query.count("{") == query.count("}"), (where, query)
    for name in names:
        assert name in samples, (where, name)
        # A rate is one of a counter, and a counter has a rate.
        is_rate = re.search(r"(rate|increase)\(%s{[^}]*}\[\$__rate_interval\]\)" % name, query) is not None
        assert is_rate == name.endswith("_total"), (where, query)
    if where != "variable heap":
        assert len(re.findall(r'{heap=~"\$heap"}', query)) == len(names), (where, query)
print("ok: a dashboard of", len(ids), "panels")
END
end_patient
