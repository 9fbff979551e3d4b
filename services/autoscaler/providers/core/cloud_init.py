"""What a rented machine does when it boots, as cloud-init user data: nobody logs in, nothing is asked over SSH.

In this order, because each step may hang or fail and the first must hold whatever the others do:

    1. lease     a systemd timer asks the cluster whether the machine is still wanted; when no answer was "yes" for
                 `lease_s` seconds, it turns the machine off, or deletes it (self_deletion.py). Time is the kernel's uptime: a clock that is set while
                 booting ends nothing
    2. swap      in parts of the memory
    3. docker    unless the image has it, with the script at `engineInstallUrl`
    4. set-up    the command of the configuration
    5. registry  log in, for a private image
    6. node      pull the image and start the container

While it boots, it sends the last lines of what cloud-init has said to the cluster every few seconds, with the machine's own secret. When it ends before its
end, it says so with its last words, so that the reason of the failure is known before the machine is gone.

Every secret lies in a file of mode 0600 (0700 where it is a script) that only root reads; none is a word of a command
but the node's own, whose flags are NodeODM's only door. The document is JSON, of which YAML is a superset: cloud-init
reads it, and nothing has to be escaped by hand (https://docs.cloud-init.io/en/latest/explanation/format.html).
"""

import json
import shlex
from typing import Any, Final

from clusterodm.services.autoscaler.orders import Launch
from clusterodm.services.autoscaler.providers.core import snapshots
from clusterodm.services.autoscaler.providers.core.order_words import run_words
from clusterodm.services.autoscaler.providers.core.self_deletion import LEASE_KEY, SelfDeletion, ending
from clusterodm.services.autoscaler.providers.core.snapshots import CLEAN, READY, SAID, TELL

FOLDER: Final = "/opt/clusterodm"
BOOT: Final = f"{FOLDER}/boot.sh"
SETUP: Final = f"{FOLDER}/setup.sh"
PASSWORD: Final = f"{FOLDER}/registry-password"
LEASE: Final = f"{FOLDER}/lease.sh"
LEASE_URL: Final = f"{FOLDER}/lease-url"
REPORT_URL: Final = f"{FOLDER}/report-url"
OUTPUT_URL: Final = f"{FOLDER}/output-url"
LOG: Final = f"{FOLDER}/boot.log"
CLOUD_INIT_LOG: Final = "/var/log/cloud-init-output.log"
"""What cloud-init and all that it runs has said, this boot among it."""
TELL_EVERY_S: Final = 5
SERVICE: Final = "/etc/systemd/system/clusterodm-lease.service"
TIMER: Final = "/etc/systemd/system/clusterodm-lease.timer"
INSTALL_URL: Final = "https://get.docker.com"
SHORTEST_LEASE_CHECK_S: Final = 15
LONGEST_LEASE_CHECK_S: Final = 60
CHECKS_PER_LEASE: Final = 4
"""So many answers may get lost before a machine takes itself for unwanted."""

LEASE_SCRIPT: Final = """\
#!/bin/sh
# Ends this machine when nobody has wanted it for {lease_s} seconds.
seen="${{CLUSTERODM_LEASE_SEEN:-/run/clusterodm-lease}}"
url="$(cat "${{CLUSTERODM_LEASE_URL:-{url_file}}}")"
uptime_s() {{ cut -d. -f1 "${{CLUSTERODM_UPTIME:-/proc/uptime}}"; }}
wanted() {{
    if command -v curl >/dev/null; then
        test "$(printf 'url = "%s"\\n' "$url" | curl -s -o /dev/null -w '%{{http_code}}' --max-time 20 -K -)" = 200
    else
        printf '%s\\n' "$url" | wget -q -O /dev/null --timeout=20 --tries=1 --max-redirect=0 -i -
    fi
}}
if [ ! -s "$seen" ] || wanted; then uptime_s >"$seen"; fi
{end}\
if [ $(($(uptime_s) - $(cat "$seen"))) -ge {lease_s} ]; then end; fi
"""

SERVICE_UNIT: Final = f"""\
[Unit]
Description=Ask whether this machine is still wanted
[Service]
Type=oneshot
ExecStart={LEASE}
"""

TIMER_UNIT: Final = """\
[Unit]
Description=Turn this machine off when it is no longer wanted
[Timer]
OnActiveSec=0
OnUnitActiveSec={check_s}
AccuracySec=1s
[Install]
WantedBy=timers.target
"""

HEAD: Final = """\
#!/bin/bash
# Makes this machine a processing node.
set -u
again() {
    for pause_s in 5 10 20 40 60 0; do
        "$@" && return 0
        sleep "$pause_s"
    done
    echo "clusterodm: failed for good: $1" >&2
    return 1
}
"""

REPORT: Final = """\
log={log}
(umask 077 && : >"$log")
exec > >(exec tee "$log") 2>&1
post() {{
    if command -v curl >/dev/null; then
        printf 'url = "%s"\\n' "$1" | curl -s -o /dev/null --max-time 20 --retry "$3" --data-binary "@$2" -K -
    else
        printf '%s\\n' "$1" | wget -q -O /dev/null --timeout=20 --tries="$3" --post-file="$2" -i -
    fi
}}
tell() {{
    whole={output}
    [ -s "$whole" ] || whole="$log"
    (umask 077 && cat "$whole" >"$log.whole$1")
    tail -n 350 "$log.whole$1" | tail -c 30000 >"$log.part$1"
    first="$(($(wc -l <"$log.whole$1") - $(wc -l <"$log.part$1")))"
    post "$(cat {output_file})&from_line=$first" "$log.part$1" "$2"
}}
(
    told=
    while said="$(cat {output} "$log" 2>/dev/null | wc -c)"; do
        if [ "$said" != "$told" ]; then tell .live 1 && told="$said"; fi
        sleep {every_s}
    done
) >/dev/null 2>&1 &
teller=$!
report() {{
    code=$?
    echo "ended with code $code"
    sleep 1 # until tee has written what was said last
    kill "$teller"
    tell .end 5
    [ "$code" = 0 ] && return
    tail -c 1500 "$log" >"$log.last"
    post "$(cat {url_file})" "$log.last" 5
}}
trap report EXIT
"""

SWAP: Final = """\
memory_kb="$(awk '/MemTotal/ {{ print $2 }}' /proc/meminfo)"
if [ ! -e /swapfile ]; then
    fallocate -l "$((memory_kb * {per_mille} / 1000))K" /swapfile && chmod 600 /swapfile \\
        && mkswap /swapfile && swapon /swapfile || echo "clusterodm: no swap" >&2
fi
"""

DOCKER: Final = """\
fetch() {{
    if command -v curl >/dev/null; then curl -fsSL --max-time 120 -o "$2" "$1"; else wget -q -O "$2" "$1"; fi
}}
install_docker() {{ fetch {url} {folder}/install-docker.sh && sh {folder}/install-docker.sh; }}
command -v docker >/dev/null || again install_docker || exit 1
systemctl start docker || service docker start || true
"""


def user_data(launch: Launch, engine_install_url: str = "", deletion: SelfDeletion | None = None) -> str:
    """Write the user data of a machine on which this node shall run. It holds secrets."""
    commands = [["/bin/bash", BOOT]]
    document = {"ssh_pwauth": False, "write_files": files(launch, engine_install_url, deletion), "runcmd": commands}
    return f"#cloud-config\n{json.dumps(document, ensure_ascii=False, separators=(',', ':'))}\n"


def files(launch: Launch, engine_install_url: str, deletion: SelfDeletion | None) -> list[dict[str, Any]]:
    """Give the files to be written before anything runs."""
    key = [file(snapshots.KEY, launch.snapshot_key.reveal(), "0600")] if launch.snapshot_key else []
    found = [file(BOOT, boot_script(launch, engine_install_url), "0700"), *key]
    if launch.setup_command:
        found.append(file(SETUP, f"{launch.setup_command}\n", "0700"))
    if launch.registry and launch.registry.username:
        found.append(file(PASSWORD, launch.registry.password.reveal(), "0600"))
    if launch.report_url:
        found.append(file(REPORT_URL, launch.report_url.reveal(), "0600"))
        found.append(file(OUTPUT_URL, launch.output_url.reveal(), "0600"))
    if has_lease(launch):
        found += lease_files(launch, deletion)
    return found


def lease_files(launch: Launch, deletion: SelfDeletion | None) -> list[dict[str, Any]]:
    """Give the files of the timer that ends the machine."""
    token = [file(LEASE_KEY, deletion.key.reveal(), "0600")] if deletion else []
    script = LEASE_SCRIPT.format(lease_s=launch.lease_s, url_file=LEASE_URL, end=ending(deletion))
    return [
        *token,
        file(LEASE_URL, launch.lease_url.reveal(), "0600"),
        file(LEASE, script, "0700"),
        file(SERVICE, SERVICE_UNIT, "0644"),
        file(TIMER, TIMER_UNIT.format(check_s=lease_check_s(launch.lease_s)), "0644"),
    ]


def file(path: str, content: str, permissions: str) -> dict[str, Any]:
    """Describe a file as cloud-init's `write_files` does."""
    return {"path": path, "content": content, "permissions": permissions, "owner": "root:root"}


def has_lease(launch: Launch) -> bool:
    """Whether the machine ends itself."""
    return bool(launch.lease_url) and launch.lease_s > 0


def lease_check_s(lease_s: int) -> int:
    """How often the machine asks."""
    return min(max(lease_s // CHECKS_PER_LEASE, SHORTEST_LEASE_CHECK_S), LONGEST_LEASE_CHECK_S)


def boot_script(launch: Launch, engine_install_url: str) -> str:
    """Write the steps in their order."""
    if launch.snapshot_key:
        return snapshot_script(launch, engine_install_url)
    steps = [HEAD]
    if launch.report_url:
        steps.append(
            REPORT.format(
                log=LOG, url_file=REPORT_URL, output_file=OUTPUT_URL, output=CLOUD_INIT_LOG, every_s=TELL_EVERY_S
            )
        )
    if has_lease(launch):
        steps.append("systemctl daemon-reload && systemctl enable --now clusterodm-lease.timer\n")
    if launch.swap_ratio > 0:
        steps.append(SWAP.format(per_mille=round(launch.swap_ratio * 1000)))
    steps.append(DOCKER.format(url=shlex.quote(install_url(engine_install_url)), folder=FOLDER))
    if launch.setup_command:
        steps.append(f"/bin/bash {SETUP} || exit 1\n")
    if launch.registry and launch.registry.username:
        steps.append(login(launch.registry.username, launch.registry.url))
    if launch.data_mount:
        steps.append(f"mkdir -p {shlex.quote(launch.data_mount)}\n")
    steps.append(f"again docker pull {shlex.quote(launch.image)} || exit 1\n{shlex.join(run_words(launch))}\n")
    return "".join(steps)


def snapshot_script(launch: Launch, engine_install_url: str) -> str:
    """Write the steps of a machine that is to become a snapshot: Docker, the image, and nothing that is its own."""
    steps = [HEAD, TELL.format(key=snapshots.KEY, said=SAID, ready=READY, port=launch.port)]
    steps.append(DOCKER.format(url=shlex.quote(install_url(engine_install_url)), folder=FOLDER))
    registry = launch.registry
    if registry and registry.username:
        steps.append(login(registry.username, registry.url))
    steps.append(f"again docker pull {shlex.quote(launch.image)} || exit 1\n")
    steps.append(CLEAN.format(registry=shlex.quote(registry.url) if registry else "", folder=FOLDER))
    return "".join(steps)


def install_url(given: str) -> str:
    """Give the address of docker's install script; the original's examples wrap it in a second pair of quotes."""
    return given.strip("\"' ") or INSTALL_URL


def login(username: str, url: str) -> str:
    """Log in to a registry with the password from its file."""
    words = shlex.join(["docker", "login", "-u", username, "--password-stdin", url])
    return f"log_in() {{ {words} <{PASSWORD}; }}\nagain log_in || exit 1\n"
