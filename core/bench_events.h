// `tuma bench events`: from an event's JSON to its requests, against memcpy and
// against LuaJIT with cjson and gsub, all interleaved in one run.
#ifndef TUMA_BENCH_EVENTS_H
#define TUMA_BENCH_EVENTS_H

#include <stdbool.h>

// Reads the tags object in `event_json_path` (bench/works.py makes it), wraps it
// into an event, and measures, as medians over interleaved rounds:
//   copy      memcpy of the event's bytes
//   read      event_read and event_unref
//   request   the same, and URL, two headers and body A rendered from it
//   cjson     cjson.decode in LuaJIT
//   lua       the same, and the same request by gsub
// Prints a table, or {"event":{"bytes":…,"tags":…,"copy_ns":…,"read_ns":…,
// "request_ns":…,"cjson_ns":…,"lua_ns":…,"read_ratio":…,"request_ratio":…}}: the
// ratios are cjson / read and lua / request. Returns 0, or 1 when the file
// cannot be read or both sides do not make the same request.
int bench_events(const char *event_json_path, bool json_out);

#endif
