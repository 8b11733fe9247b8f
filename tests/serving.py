"""A small HTTP server on loopback; what it answers is up to the test."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Hands itself and the body of each request to the server's `act`, which answers."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.server.act(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))

    do_GET = do_HEAD = do_POST

    def send(self, status=200, body=None, headers=(), raw=None):
        """Answer with `body` as JSON, or with the bytes `raw`; to HEAD with the headers alone."""
        data = raw if raw is not None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def drop(self, sent=b""):
        """Close the connection in the middle of an answer."""
        self.wfile.write(sent)
        self.close_connection = True
        self.connection.close()

    def log_message(self, *args):
        pass


@contextmanager
def serving(act, port=0):
    """Serve until the end of the block; `act(handler, body)` runs on a thread a request."""
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    server.act = act
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def address(server):
    return f"http://127.0.0.1:{server.server_address[1]}"
