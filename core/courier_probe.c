// What the kernel and OpenSSL know of a connection. courier_probe.h says why this is
// a file of its own.
#include "courier_probe.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <string.h>
#include <sys/socket.h>

int64_t probe_bytes_received(curl_socket_t fd) {
    struct tcp_info info;
    socklen_t n = sizeof info;
    memset(&info, 0, sizeof info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) != 0) return -1;
    return (int64_t)info.tcpi_bytes_received;
}

bool probe_speaks_http2(CURL *easy) {
    struct curl_tlssessioninfo *tls = NULL;
    const unsigned char *protocol = NULL;
    unsigned n = 0;
    curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &tls);
    if (!tls || tls->backend != CURLSSLBACKEND_OPENSSL || !tls->internals) return false;
    SSL_get0_alpn_selected(tls->internals, &protocol, &n);
    return n == 2 && memcmp(protocol, "h2", 2) == 0;
}

const char *probe_certificate_fault(long verify_result) {
    switch (verify_result) {
    case X509_V_ERR_CERT_HAS_EXPIRED: return "tls_expired";
    case X509_V_ERR_CERT_NOT_YET_VALID: return "tls_not_yet_valid";
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: return "tls_untrusted";
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
    case X509_V_ERR_UNSPECIFIED: // curl's start value: it refused the name before it took the
                                 // result
    case X509_V_OK: return "tls_wrong_host";
    default: return "tls_cert";
    }
}
