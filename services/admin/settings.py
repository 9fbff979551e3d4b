"""What can be set for the admin service."""

from pydantic import Field, SecretStr

from libs.common.settings import CommonSettings


class AdminSettings(CommonSettings):
    """Flags, environment (`CLUSTERODM_...`) and file of the admin service."""

    admin_cli_port: int = Field(8080, ge=0, le=65535, description="port of the telnet command line; 0: off")
    admin_web_port: int = Field(10000, ge=0, le=65535, description="port of the web page; 0: off")
    admin_bind: str = Field(
        "0.0.0.0",  # noqa: S104 operators reach the original over the network too; a warning says when no password is set
        description="address on which both listen",
    )
    admin_pass: SecretStr | None = Field(
        None, description="password of both (web user: admin); better given as CLUSTERODM_ADMIN_PASS; none: no login"
    )
    admin_cli_sessions_count: int = Field(32, ge=1, description="telnet sessions at the same time")
    admin_cli_idle_s: float = Field(
        1800.0, ge=0, description="silent telnet sessions end after so many seconds; 0: never"
    )
    admin_cli_login_s: float = Field(60.0, gt=0, description="telnet sessions without login end after so many seconds")

    @property
    def password(self) -> str:
        """The password; empty: none is asked for."""
        return "" if self.admin_pass is None else self.admin_pass.get_secret_value()
