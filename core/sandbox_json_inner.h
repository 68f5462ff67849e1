// Limits of JSON in scripts, shared by encoding and decoding.
#ifndef TUMA_SANDBOX_JSON_INNER_H
#define TUMA_SANDBOX_JSON_INNER_H

enum { JSON_VALUES_MAX = 50000, JSON_DEPTH_MAX = 64, JSON_BYTES_MAX = 1024 * 1024 };

#endif
