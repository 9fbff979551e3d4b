"""What can be set for the proxy."""

import re
from pathlib import Path
from typing import ClassVar, Final, Literal

from clusterodm.libs.common.secret import Secret
from clusterodm.libs.common.settings.addresses import web_address
from clusterodm.libs.common.settings.fields import LONGEST_STOP_S, MOST, Field, different_ports
from clusterodm.libs.common.settings.settings import MetricsSettings
from clusterodm.services.proxy.exchange.destinations import networks

SHORTCUTS: Final = {"port": "p", "cloud_provider": "c"}
"""One-letter flags, the original's."""

UNITS: Final = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
SIZE: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*(%|[kmgt]b)?", re.IGNORECASE)


class ProxySettings(MetricsSettings):
    """Flags, environment (`CLUSTERODM_...`) and file of the proxy."""

    group: ClassVar[str] = "Clients: the HTTP API, uploads, downloads (proxy)"

    port: int = Field(3000, ge=0, le=65535, description="port that clients connect to; 0: a free one")
    secure_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="with --ssl-key and --ssl-cert: serve TLS here and plain HTTP on --port; 0: TLS on --port",
    )
    bind: str = Field(
        "0.0.0.0",  # noqa: S104 clients come over the network
        description="address to listen on; :: for IPv6 and IPv4",
    )
    ssl_key: str = Field("", private=True, description="file with the private key for TLS, PEM")
    ssl_cert: str = Field("", description="file with the certificate chain for TLS, PEM")
    token: Secret | None = Field(
        None, description="token that clients must send; better given as CLUSTERODM_TOKEN; none: everybody is let in"
    )
    tokens: str = Field(
        "",
        private=True,
        description="file with the tokens that clients may send, and what each tenant may do; clusterodm token create writes it, changes count"
        " within two seconds",
    )
    cloud_provider: Literal["local", "http", "nats", "lightning"] = Field(
        "local",
        description="who says which tokens are valid: local (--token, --tokens), http (--cloud-provider-url), nats (an integration that"
        " answers its request, see docs/tenants.md), lightning (webodm.net)",
    )
    cloud_provider_url: str = Field(
        "",
        check=web_address,
        description="http(s) address under which http, or another lightning, is asked: <URL>/tokens/validate and so on",
    )
    token_fresh_s: float = Field(
        4.0,
        gt=0,
        description="how long an answer of http or nats about a token counts, seconds: so long a revoked one may go on (lightning: an hour,"
        " as in the original)",
    )
    access_log: str = Field(
        "",
        description="file to which a line about each request is written, without tokens; at 100 MB it becomes <file>.1; empty: none",
    )
    access_log_format: Literal["plain", "combined", "json"] = Field(
        "plain",
        description="plain: when, from where and for what, as ClusterODX; combined: as web servers, with what came of it; json",
    )
    public_address: str = Field(
        "",
        check=web_address,
        description="http(s)://host:port under which nodes reach this cluster, for split-merge (empty: as the client did), and rented machines",
    )
    splitmerge: bool = Field(True, description="serve as a cluster for split-merge runs")
    webhook_allow: str = Field(
        "",
        check=networks,
        description="networks or addresses inside your own network that clients' webhooks may lead to, separated by commas, as"
        " 192.168.1.0/24,127.0.0.1; empty: public addresses only",
    )
    flood_limit: int = Field(0, ge=0, description="uncommitted uploads that one client may have open; 0: no limit")
    stale_uploads_timeout: float = Field(
        0.0,
        ge=0,
        le=MOST["h"],
        description="uncommitted uploads are removed after so many hours without a file, 48 at most; 0: after 48",
    )
    min_free_disk: str = Field(
        "500MB",
        check=lambda size: minimum_bytes(size, 0),
        description="uploads are refused when the disk of the spool has less free, as 5GB, 500MB or 10%; at twice as much kept"
        " inputs begin to go, oldest first",
    )
    keep_inputs: Literal["until-finished", "until-forwarded"] = Field(
        "until-finished",
        description="how long received files are kept: until the task has finished, so that it survives the loss of its node,"
        " or until a node has them",
    )
    keep_failed_inputs_h: float = Field(
        24.0, ge=0, description="hours for which the files of failed and canceled tasks are kept, for a restart"
    )
    upload_max_speed: int = Field(0, ge=0, description="limit for sending files to nodes, bytes per second; 0: none")
    downloads_from_s3: str = Field(
        "",
        check=web_address,
        description="URL under which nodes put their results for everybody to read: a download is sent on to"
        " <URL>/<task>/<asset> when it is there",
    )
    upload_stall_timeout_s: float = Field(
        30.0, gt=0, description="a client that sends nothing in the middle of a body is cut off after so many seconds"
    )
    head_timeout_s: float = Field(
        30.0, gt=0, description="a client that does not finish the head of a request is cut off after so many seconds"
    )
    keep_alive_timeout_s: float = Field(
        120.0,
        gt=0,
        description="a connection without a request is kept for so many seconds; more than any proxy in front keeps it"
        " (nginx 60, most load balancers 60)",
    )
    upload_min_rate_bytes_per_s: int = Field(
        100,
        ge=0,
        description="a client that sends a body more slowly is cut off, once a stall timeout has passed; 0: never",
    )
    upload_limit_mb: int = Field(0, ge=0, description="longest body of one upload request, MB; 0: no limit")
    uploads_at_once_count: int = Field(
        128, gt=0, description="upload requests that are taken at the same time; further ones wait"
    )
    uploads_wait_s: float = Field(
        5.0, ge=0, description="how long an upload request waits for its turn before it is refused with 503, seconds"
    )
    connections_count: int = Field(
        4096,
        gt=0,
        description="connections of clients at the same time; a further one takes the place of a silent one, or is closed at once",
    )
    head_limit_bytes: int = Field(
        16384,
        ge=1024,
        description="longest head of a request, bytes; a longer one is refused with 431 as soon as it is (Node.js: 16384)",
    )
    download_stall_timeout_s: float = Field(
        60.0, gt=0, description="a download is broken off when its node has not moved for so many seconds"
    )
    download_pause_timeout_s: float = Field(
        300.0,
        gt=0,
        description="a download is broken off when its client has taken less than the minimum rate for so many seconds: so long may it pause",
    )
    download_min_rate_bytes_per_s: int = Field(
        100, ge=0, description="the minimum rate of a client that downloads; 0: whoever takes anything goes on"
    )
    node_keep_alive_timeout_s: float = Field(
        4.0,
        gt=0,
        description="a connection to a node without a request is kept for so many seconds; less than the node, or a proxy in front of it,"
        " keeps it (Node.js: 5)",
    )
    node_answer_timeout_s: float = Field(
        30.0, gt=0, description="a download is broken off when its node has not begun to answer after so many seconds"
    )
    commit_wait_s: float = Field(
        20.0,
        ge=0,
        description="how long an init or a commit waits for NATS and a scheduler until it is refused with 503, seconds",
    )
    poll_fresh_ms: int = Field(
        500,
        ge=0,
        description="what a node says of a running task is told to whoever asks within so many milliseconds, so that each is asked no"
        " more often, however many watch its tasks; 0: a node is asked for each poll",
    )
    drain_s: float = Field(
        0.0,
        ge=0,
        le=LONGEST_STOP_S,
        description="after SIGTERM go on for so many seconds, a day at most, with /healthz at 503, so that load balancers notice",
    )
    forward_parallel_count: int = Field(
        4, gt=0, description="files of one task that are sent to its node at the same time"
    )
    forward_tasks_count: int = Field(8, gt=0, description="tasks that are sent to nodes at the same time")
    forward_threads_count: int = Field(32, gt=0, description="transfers to nodes at the same time, over all tasks")
    send_ahead_of_commit: bool = Field(
        True,
        description="send files of an upload to the node where its task would go now, while the client still uploads",
    )
    send_ahead_from_mb: int = Field(
        16, ge=0, description="uploads from this size on are sent ahead of their commit, MB"
    )
    proxy_url: str = Field(
        "",
        check=web_address,
        description="where the other proxies reach this one; empty: http://<host name>:<port>, https with TLS on --port",
    )
    own_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="loopback port of this proxy alone; the ports for clients are then shared with other proxies of"
        " this computer; 0: not shared",
    )
    spool_dir: str = Field(
        "", description="directory for received files, one for each proxy; empty: spool in the data directory"
    )

    def check(self) -> None:
        """Refuse half a pair of key and certificate, a secure port without one, and one port for two purposes."""
        super().check()
        different_ports(
            {
                "--port": self.port,
                "--secure-port": self.secure_port,
                "--own-port": self.own_port,
                "--metrics-port": self.metrics_port,
            }
        )
        if bool(self.ssl_key) != bool(self.ssl_cert):
            raise ValueError("--ssl-key and --ssl-cert go together")
        if self.tokens and self.token:
            raise ValueError(
                "--token and --tokens exclude each other; clusterodm token create NAME --token-file PATH takes the one over"
            )
        if self.cloud_provider != "local" and (self.tokens or self.token):
            raise ValueError(
                f"--cloud-provider {self.cloud_provider} checks all tokens: leave out --token and --tokens"
            )
        if self.cloud_provider == "http" and not self.cloud_provider_url:
            raise ValueError("--cloud-provider http needs --cloud-provider-url")
        if self.secure_port and not self.ssl_key:
            raise ValueError("--secure-port needs --ssl-key and --ssl-cert")

    @property
    def spool_root(self) -> Path:
        """Where received files go."""
        return Path(self.spool_dir) if self.spool_dir else self.data_dir / "spool"

    @property
    def tls_everywhere(self) -> bool:
        """Whether no port speaks plain HTTP."""
        return bool(self.ssl_key) and not self.secure_port

    @property
    def expected_token(self) -> str:
        """The token that clients must send; empty: none."""
        return "" if self.token is None else self.token.reveal()


def minimum_bytes(text: str, disk_bytes: int) -> int:
    """Read `5GB`, `500MB`, `10%` (of the disk); 0 is 0. Raises ValueError."""
    match = SIZE.fullmatch(text.strip())
    if match is None or (match[2] is None and float(match[1])):
        raise ValueError("must be a size with its unit: 5GB, 500MB, or 10% of the disk")
    amount, unit = float(match[1]), (match[2] or "kb").lower()
    return int(disk_bytes * min(amount, 100) / 100) if unit == "%" else int(amount * UNITS[unit])
