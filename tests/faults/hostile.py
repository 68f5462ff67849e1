#!/usr/bin/env python3
"""A receiver that misbehaves: one path for each row of the hostile answers
(S1-S37). Threads and raw sockets, so that every byte is under control.

  hostile.py [--tls DIR]     prints "NAME PORT" lines, then "ready"; ends when
                             standard input closes

Ports: http, and with --tls (certificates are made in DIR by openssl):
tls_good, tls_selfsigned, tls_wronghost, tls_expired, tls_notyet, tls_weak,
tls_old (TLS 1.1 only), tls_mutual (wants a client certificate), tls_stall
(accepts and says nothing). /count/PATH answers how often PATH was received,
/poured/PATH how many bytes of an endless answer left.
"""
import os
import random
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

counts = {}
poured = {}  # bytes that went out, by path, for rows without an end
counts_lock = threading.Lock()
OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = OK + b"Content-Length: 0\r\n\r\n"
FOREVER = 64 << 20  # bytes: more than any cap, and still an end


class Connection:
    """A client's socket with what was read of it so far."""

    def __init__(self, sock):
        self.sock = sock
        self.pending = b""
        self.served = 0

    def read_until(self, mark):
        while mark not in self.pending:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self.pending += data
        head, self.pending = self.pending.split(mark, 1)
        return head

    def read_exactly(self, n):
        while len(self.pending) < n:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self.pending += data
        body, self.pending = self.pending[:n], self.pending[n:]
        return body

    def send(self, data):
        self.sock.sendall(data)

    def pour(self, path, head, piece):
        """Sends head, then piece again and again until the client leaves."""
        self.send(head)
        block = piece * max(1, 16384 // len(piece))
        poured[path] = 0
        while poured[path] < FOREVER:
            self.send(block)
            poured[path] += len(block)

    def drip(self, head, byte):
        """One byte at a time, for as long as anybody listens (or a minute)."""
        self.send(head)
        for _ in range(240):
            time.sleep(0.25)
            self.send(byte)

    def hang(self):
        self.sock.settimeout(60)
        while self.sock.recv(65536):
            pass

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def chunked(tail):
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + tail


# Rows whose answer is a fixed text. (text, close afterwards)
FIXED = {
    "/s8": (b"HTTP/1.1 100 Continue\r\n\r\n" + EMPTY, False),
    "/s9": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", None),
    "/s12bad": (chunked(b"ZZZ\r\nhello\r\n"), None),
    "/s12big": (chunked(b"FFFFFFFFFFFFFFFFFF\r\nhello\r\n"), None),
    "/s13chunked": (chunked(b"5\r\nhel"), True),
    "/s13length": (OK + b"Content-Length: 100\r\n\r\nhello", True),
    "/s13head": (OK + b"Content-Le", True),
    "/s14negative": (OK + b"Content-Length: -5\r\n\r\n", True),
    "/s14two": (OK + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nhellogo", True),
    "/s14huge": (OK + b"Content-Length: 99999999999999999999999\r\n\r\nhello", True),
    "/s15": (OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", False),
    "/s16": (b"HTTP/1.0 200 OK\r\n\r\nhello", True),
    "/s17http09": (b"<html>hello</html>\n", True),
    "/s17random": (bytes(random.Random(17).randrange(256) for _ in range(2000)), True),
    "/s17version": (b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n", True),
    "/s17status5": (b"HTTP/1.1 99999 OK\r\nContent-Length: 0\r\n\r\n", True),
    "/s17status0": (b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n", True),
    "/s17status2": (b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", True),
    "/s17status999": (b"HTTP/1.1 999 Hm\r\nContent-Length: 0\r\n\r\n", True),
    "/s18nul": (OK + b"X-A: a\0b\r\nContent-Length: 0\r\n\r\n", True),
    "/s18fold": (OK + b"X-A: a\r\n  b\r\nContent-Length: 0\r\n\r\n", False),
    "/s21no": (b"HTTP/1.1 204 No Content\r\n\r\nbody", False),
    "/s21reset": (b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", False),
    "/s21not": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n", False),
    "/s24": (OK + b"Set-Cookie: a=b\r\nAlt-Svc: h3=\":443\"\r\nStrict-Transport-Security: max-age=9\r\n"
             b"Refresh: 0\r\nContent-Length: 0\r\n\r\n", False),
    "/s26two": (b"HTTP/1.1 503 Busy\r\nRetry-After: 5\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", False),
    "/s29": (OK + b"Content-Length: 11\r\n\r\n{\"error\":1}", False),
    "/s35": (OK + b"X-A: \x1b[31m<script>\r\nContent-Length: 12\r\n\r\n<script>\x1b[\0\n", False),
    "/ok": (OK + b"Content-Length: 5\r\n\r\nhello", False),
    "/exact": (OK + b"Content-Length: 65536\r\n\r\n" + b"x" * 65536, False),
    "/over": (OK + b"Content-Length: 65537\r\n\r\n" + b"x" * 65537, False),
}


def endless(c, path):
    """Rows that never stop by themselves. True when path is one of them."""
    rows = {
        "/s4length": (OK + b"Content-Length: 10000000000\r\n\r\n", b"x" * 1000),
        "/s4chunked": (chunked(b""), b"3e8\r\n" + b"x" * 1000 + b"\r\n"),
        "/s4none": (OK + b"\r\n", b"x" * 1000),
        "/s5": (OK, b"X-Header: " + b"x" * 90 + b"\r\n"),
        "/s6line": (OK + b"X-Header: ", b"x"),
        "/s6status": (b"HTTP/1.1 200 ", b"x"),
        "/s7hundred": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        "/s7hints": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
        "/s10lines": (chunked(b"5\r\nhello\r\n0\r\n"), b"X-Trailer: " + b"x" * 90 + b"\r\n"),
        "/s10line": (chunked(b"5\r\nhello\r\n0\r\nX-Trailer: "), b"x"),
        "/s11": (chunked(b"5;a="), b"x"),
        "/s11many": (chunked(b""), b"1;a=" + b"x" * 900 + b"\r\nx\r\n"),
        "/s23": (OK + b"Content-Encoding: gzip\r\n\r\n", b"\x1f\x8b\x08" + b"\0" * 997),
    }
    if path not in rows:
        return False
    c.pour(path, *rows[path])
    return True


def slow(c, path):
    """Rows about time. True when path is one of them."""
    if path in ("/s1", "/hang"):
        c.hang()
    elif path == "/s19":
        c.drip(b"HTTP/1.1 200 OK\r\nX-", b"x")
    elif path == "/s20":
        c.drip(OK + b"Content-Length: 1000\r\n\r\n", b"x")
    elif path == "/s22":  # a second answer that nobody asked for
        c.send(EMPTY)
        time.sleep(0.05)
        c.send(EMPTY)
        return "keep"
    elif path.startswith("/latency/"):
        time.sleep(int(path.split("/")[2]) / 1000)
        c.send(EMPTY)
        return "keep"
    else:
        return False
    return True


def status_row(path):
    """/status/503[/HEADER-NAME/VALUE], /s25/302/TARGET; None for others."""
    parts = path.split("/", 4)
    if parts[1] == "s25":
        target = path.split("/", 3)[3].replace("%2F", "/")
        return b"HTTP/1.1 %s Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (
            parts[2].encode(), target.encode())
    if parts[1] == "status":
        extra = b""
        if len(parts) > 4:
            extra = b"%s: %s\r\n" % (parts[3].encode(), parts[4].replace("_", " ").encode())
        return b"HTTP/1.1 %s Text\r\n%sContent-Length: 0\r\n\r\n" % (parts[2].encode(), extra)
    return None


def echo(c, head, body):
    text = head + b"\r\n\r\n" + body
    c.send(OK + b"Content-Length: %d\r\n\r\n" % len(text) + text)


def respond(c, head, path, body):
    """Answers one request; returns True while the connection may go on."""
    if path in FIXED:
        text, close = FIXED[path]
        c.send(text)
        if close is None:  # neither goes on nor closes
            c.hang()
        return close is False
    if path == "/s2close":
        return False
    if path == "/s2reset":
        c.reset()
        return False
    if path == "/s3" and c.served > 1:
        return False  # read, then closed without an answer
    if endless(c, path):
        return False
    slowly = slow(c, path)
    if slowly:
        return slowly == "keep"
    text = status_row(path)
    if path == "/echo":
        echo(c, head, body)
    elif path.startswith(("/count/", "/poured/")):
        of, name = (counts, path[6:]) if path[1] == "c" else (poured, path[7:])
        number = b"%d" % of.get(name, 0)
        c.send(OK + b"Content-Length: %d\r\n\r\n" % len(number) + number)
    else:
        c.send(text or EMPTY)
    return True


def serve(sock):
    c = Connection(sock)
    try:
        go_on = True
        while go_on:
            head = c.read_until(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            path = lines[0].split(b" ")[1].decode().split("?")[0]
            with counts_lock:
                counts[path] = counts.get(path, 0) + 1
            if path == "/s37":  # reads nothing of the body
                time.sleep(60)
            length = 0
            for line in lines[1:]:
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            body = c.read_exactly(length)
            c.served += 1
            go_on = respond(c, head, path, body)
    except (OSError, EOFError, ValueError, IndexError):
        pass
    finally:
        try:
            sock.close()
        except OSError:
            pass


def listen(name, context=None, stall=False):
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    server.bind(("127.0.0.1", 0))
    server.listen(512)
    kept = []

    def secure(sock):
        try:
            sock = context.wrap_socket(sock, server_side=True)
        except OSError:
            sock.close()
            return
        serve(sock)

    def accept():
        while True:
            sock, _ = server.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if stall:
                kept.append(sock)
                continue
            threading.Thread(target=secure if context else serve, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    print(name, server.getsockname()[1])


def openssl(*arguments):
    subprocess.run(("openssl",) + arguments, check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


EC = ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


def make_certificate(directory, name, san, signed=True, key=EC, start=None, end=None):
    """A key and a certificate for SAN, by our own authority or by itself."""
    at = lambda suffix: os.path.join(directory, name + suffix)
    subject = ["-subj", "/CN=" + name]
    openssl("req", "-new", "-newkey", *key, "-nodes", "-keyout", at(".key"), "-out",
            at(".csr"), *subject)
    with open(at(".ext"), "w", encoding="ascii") as f:
        f.write("subjectAltName=%s\nbasicConstraints=CA:FALSE\n" % san)
    with open(at(".cnf"), "w", encoding="ascii") as f:
        f.write("[ca]\ndefault_ca=d\n[d]\ndatabase=%s\nserial=%s\nnew_certs_dir=%s\n"
                "default_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n"
                % (at(".db"), at(".serial"), directory))
    open(at(".db"), "w", encoding="ascii").close()
    with open(at(".serial"), "w", encoding="ascii") as f:
        f.write("%08X\n" % random.randrange(1 << 31))
    by = ["-selfsign", "-keyfile", at(".key")]
    if signed:
        by = ["-cert", os.path.join(directory, "ca.crt"), "-keyfile",
              os.path.join(directory, "ca.key")]
    openssl("ca", "-batch", "-notext", "-config", at(".cnf"), "-extfile", at(".ext"), "-in",
            at(".csr"), "-out", at(".crt"), "-startdate", start or "20200101000000Z", "-enddate",
            end or "20491231000000Z", *by)


def make_authority(directory):
    openssl("req", "-x509", "-newkey", *EC, "-nodes", "-days", "10000", "-subj",
            "/CN=test authority", "-keyout", os.path.join(directory, "ca.key"), "-out",
            os.path.join(directory, "ca.crt"))


def context_for(directory, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(os.path.join(directory, name + ".crt"),
                            os.path.join(directory, name + ".key"))
    return context


def listen_tls(directory):
    here = "DNS:localhost,IP:127.0.0.1"
    make_authority(directory)
    make_certificate(directory, "good", here)
    make_certificate(directory, "selfsigned", here, signed=False)
    make_certificate(directory, "wronghost", "DNS:other.test")
    make_certificate(directory, "expired", here, end="20210101000000Z")
    make_certificate(directory, "notyet", here, start="20480101000000Z")
    make_certificate(directory, "weak", here, key=("rsa:1024",))
    make_certificate(directory, "client", "DNS:client.test")
    for name in ("good", "selfsigned", "wronghost", "expired", "notyet", "weak"):
        listen("tls_" + name, context_for(directory, name))
    old = context_for(directory, "good")
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    listen("tls_old", old)
    mutual = context_for(directory, "good")
    mutual.verify_mode = ssl.CERT_REQUIRED
    mutual.load_verify_locations(os.path.join(directory, "ca.crt"))
    listen("tls_mutual", mutual)
    listen("tls_stall", stall=True)


def main():
    listen("http")
    if len(sys.argv) > 2 and sys.argv[1] == "--tls":
        listen_tls(sys.argv[2])
    print("ready", flush=True)
    sys.stdin.read()


main()
