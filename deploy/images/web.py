"""The example's web image: Debian's static busybox, its web server, and a page that says which pod answered.

Beside the server it holds all of busybox's commands (sh, wget, nslookup, tar, ...), so that `kubectl exec` and
`kubectl cp` have something to work with.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from deploy.images.archive import File, Image, ImageUnavailable

REFERENCE = "steersman.local/web:1"
PORT = 8080

SERVE = f"""#!/bin/sh
# Process 1: a shell that ends at once when asked to, which the web server as process 1 would not.
trap 'kill $!; exit 0' TERM INT
httpd -f -v -p ${{PORT:-{PORT}}} -h /www &
wait $!
"""
PAGE = """#!/bin/sh
# What is set comes from the pod: the downward API fills the variables, a ConfigMap the message.
printf 'Content-Type: text/plain\\r\\n\\r\\n'
echo "Hello from pod $(hostname)${NODE_NAME:+ on $NODE_NAME}${POD_IP:+ at $POD_IP}"
[ -r /etc/web/message ] && cat /etc/web/message
# The server listens for IPv6 too and writes IPv4 addresses as [::ffff:10.1.2.3].
client=${REMOTE_ADDR#[[]::ffff:}
echo "You came from ${client%]} and asked for ${HTTP_HOST:-this address}."
"""


def image() -> Image:
    """Return the web image.

    Raises:
        ImageUnavailable: there is no static busybox on this machine.
    """
    path = shutil.which("busybox")
    advice = "the example's web image needs it: apt-get install busybox-static"
    if path is None:
        raise ImageUnavailable(f"busybox is not installed; {advice}")
    content = Path(path).read_bytes()
    if b"/ld-linux" in content[:4096] or b"/ld-musl" in content[:4096]:
        raise ImageUnavailable(f"{path} is not statically linked; {advice}")
    answer = subprocess.run([path, "--list-full"], capture_output=True, text=True, timeout=10, check=True)
    applets = sorted(name for name in answer.stdout.split() if name not in ("bin/busybox", "linuxrc"))
    return Image(
        REFERENCE,
        directories=[
            "bin", "sbin", "usr", "usr/bin", "usr/sbin", "etc", "etc/web", "root", "home", "tmp", "var", "var/run",
            "www", "www/cgi-bin",
        ],
        files=[
            File("bin/busybox", content, 0o755),
            File("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
            File("etc/group", b"root:x:0:\nnogroup:x:65534:\n"),
            File("etc/nsswitch.conf", b"hosts: files dns\n"),
            File("bin/serve", SERVE.encode(), 0o755),
            File("www/cgi-bin/index.cgi", PAGE.encode(), 0o755),
            File("www/healthz", b"ok\n"),
        ],
        links=[(name, "/bin/busybox") for name in applets],
        command=["/bin/serve"],
        ports=[PORT],
    )  # fmt: skip
