"""What a machine says and leaves behind that is to become a snapshot: the parts of its boot script.

It pulls the image, takes away whatever is its own (secrets, keys, its identity), and then tells whoever asks at the node's port, with the key
that it was given, whether it is ready. A snapshot holds nothing of that: what is told lies in /run, which is memory.
"""

from typing import Final

KEY: Final = "/run/clusterodm-snapshot-key"
SAID: Final = "/run/clusterodm-snapshot"
READY: Final = "ready"

TELL: Final = """\
log={said}.log
(umask 077 && : >"$log")
exec > >(exec tee "$log") 2>&1
tell() {{
    code=$?
    trap - EXIT
    if [ "$code" = 0 ]; then
        echo {ready} >{said}
    else
        sleep 1 # until tee has written what was said last
        {{ tail -c 1500 "$log"; echo "ended with code $code"; }} >{said}
    fi
    exec python3 - <<'END'
import hmac, http.server, pathlib
key = pathlib.Path("{key}").read_text()
said = pathlib.Path("{said}").read_bytes()
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = hmac.compare_digest(self.path.encode(), b"/" + key.encode())
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(said) if known else 0))
        self.end_headers()
        self.wfile.write(said if known else b"")
    def log_message(self, *_what):
        pass
http.server.ThreadingHTTPServer(("", {port}), Answer).serve_forever()
END
}}
trap tell EXIT
"""

CLEAN: Final = """\
docker logout {registry} || true
rm -rf /root/.docker {folder}
cloud-init clean --logs --machine-id || cloud-init clean --logs || rm -rf /var/lib/cloud/*
rm -f /etc/ssh/ssh_host_*
sync
exit 0
"""
