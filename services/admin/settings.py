"""What can be set for the admin service."""

from typing import ClassVar, Final

from clusterodm.libs.common.fields import Field, different_ports
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.common.settings import MetricsSettings

EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 with a password: operators reach the original over the network too
LOOPBACK: Final = "127.0.0.1"


class AdminSettings(MetricsSettings):
    """Flags, environment (`CLUSTERODM_...`) and file of the admin service."""

    group: ClassVar[str] = "Operators: telnet and web (admin)"

    admin_cli_port: int = Field(8080, ge=0, le=65535, description="port of the telnet command line; 0: off")
    admin_web_port: int = Field(10000, ge=0, le=65535, description="port of the web page; 0: off")
    admin_bind: str = Field(
        "",
        description="address on which both listen; empty: every address when there is a password, otherwise this computer only",
    )
    admin_web_hosts: str = Field(
        "",
        description="names under which the web page is reached beside localhost, this computer's own name and addresses,"
        " separated by commas; requests for other names are refused",
    )
    admin_pass: Secret | None = Field(
        None, description="password of both (web user: admin); better given as CLUSTERODM_ADMIN_PASS; none: no login"
    )
    admin_cli_sessions_count: int = Field(32, ge=1, description="telnet sessions at the same time, after their login")
    admin_cli_idle_s: float = Field(
        1800.0, ge=0, description="silent telnet sessions end after so many seconds; 0: never"
    )
    admin_cli_login_s: float = Field(60.0, gt=0, description="telnet sessions without login end after so many seconds")

    def check(self) -> None:
        """Refuse one port for two purposes."""
        super().check()
        different_ports(
            {
                "--admin-cli-port": self.admin_cli_port,
                "--admin-web-port": self.admin_web_port,
                "--metrics-port": self.metrics_port,
            }
        )

    @property
    def admin_address(self) -> str:
        """Where both listen."""
        return self.admin_bind or (EVERYWHERE if self.password else LOOPBACK)

    @property
    def password(self) -> str:
        """The password; empty: none is asked for."""
        return "" if self.admin_pass is None else self.admin_pass.reveal()
