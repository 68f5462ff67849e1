// What curl does not tell of a connection: asked of the kernel and of OpenSSL.
// Apart, because linux/tcp.h and OpenSSL's headers clash with uv's and ours.
#ifndef TUMA_COURIER_PROBE_H
#define TUMA_COURIER_PROBE_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

// Bytes the socket has received since it was connected, read or not; -1 when unknown.
int64_t probe_bytes_received(curl_socket_t fd);
// Whether TLS agreed on HTTP/2 for the connection `easy` has now.
bool probe_speaks_http2(CURL *easy);
// The stable word for OpenSSL's verdict over a certificate.
const char *probe_certificate_fault(long verify_result);

#endif
