// An HTTP/2 receiver (and HTTP/1.1 beside it) over TLS: http2.js KEY CERT.
// Prints "http2 PORT" and "ready"; ends when standard input closes.
"use strict";
const fs = require("fs");
const http2 = require("http2");

const options = {
    key: fs.readFileSync(process.argv[2]),
    cert: fs.readFileSync(process.argv[3]),
    allowHTTP1: true,
};
const server = http2.createSecureServer(options, (request, response) => {
    request.resume();
    request.on("end", () => {
        if (request.url === "/reset" && response.stream) response.stream.close(2);
        else if (request.url === "/big") response.end(Buffer.alloc(100000, 120));
        else setTimeout(() => response.end("slow"), 100);
    });
});
server.listen(0, "127.0.0.1", () => {
    console.log("http2 " + server.address().port);
    console.log("ready");
});
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
