"""What can be set for the admin service."""

from collections.abc import Mapping
from typing import ClassVar, Final

from clusterodm.libs.common.hosts import LOOPBACK
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.common.settings.addresses import web_address
from clusterodm.libs.common.settings.fields import Field, different_ports
from clusterodm.libs.common.settings.settings import MetricsSettings
from clusterodm.services.admin.access.passwords import check as check_password
from clusterodm.services.admin.access.roles import Role, role_rules

EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 with a password: operators reach the original over the network too


def checked_password(given: Secret | None) -> None:
    """See that a password can be compared with. Raises ValueError."""
    if given is not None:
        check_password(given.reveal())


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
    admin_web_keep_alive_timeout_s: float = Field(
        120.0,
        gt=0,
        description="a connection to the web page without a request is kept for so many seconds; more than any proxy in front keeps it",
    )
    admin_pass: Secret | None = Field(
        None,
        check=checked_password,
        description="password of both (web user: admin), as it is or hashed; better given as CLUSTERODM_ADMIN_PASS; none: no login",
    )
    admin_pass_file: str = Field(
        "", private=True, description="file with the password of the role admin, as it is or hashed"
    )
    admin_operator_pass: Secret | None = Field(
        None,
        check=checked_password,
        description="password of the role operator (web user: operator), as it is or hashed",
    )
    admin_operator_pass_file: str = Field("", private=True, description="file with the password of the role operator")
    admin_viewer_pass: Secret | None = Field(
        None, check=checked_password, description="password of the role viewer (web user: viewer), as it is or hashed"
    )
    admin_viewer_pass_file: str = Field("", private=True, description="file with the password of the role viewer")
    admin_session_h: float = Field(
        12.0, gt=0, le=720, description="who has signed in on the web does so again after so many hours"
    )
    admin_web_url: str = Field(
        "",
        check=web_address,
        description="https://host under which browsers reach the web page through a proxy with TLS; needed by OpenID Connect",
    )
    tokens: str = Field("", private=True, description="file of tokens, for its page; proxies have the same flag")
    admin_oidc_issuer: str = Field(
        "",
        check=web_address,
        description="URL of the identity provider at which operators sign in (OpenID Connect); empty: passwords only",
    )
    admin_oidc_client: str = Field("", description="client id of this cluster at the identity provider")
    admin_oidc_secret: Secret | None = Field(
        None, description="its client secret; better given as CLUSTERODM_ADMIN_OIDC_SECRET"
    )
    admin_oidc_claim: str = Field("groups", description="claim of the identity provider that says what somebody is")
    admin_oidc_roles: str = Field(
        "",
        check=role_rules,
        description="what gives which role: cluster-admins=admin,staff=operator,*=viewer (* is everybody who can sign in)",
    )
    admin_cli_sessions_count: int = Field(32, ge=1, description="telnet sessions at the same time, after their login")
    admin_cli_idle_s: float = Field(
        1800.0, ge=0, description="silent telnet sessions end after so many seconds; 0: never"
    )
    admin_cli_login_s: float = Field(60.0, gt=0, description="telnet sessions without login end after so many seconds")

    def check(self) -> None:
        """Refuse one port for two purposes, two passwords for one role, and half an identity provider."""
        super().check()
        different_ports({"--admin-cli-port": self.admin_cli_port, "--admin-web-port": self.admin_web_port})
        for role, (given, path) in self.passwords.items():
            if given and path:
                raise ValueError(f"the password of the role {role.word} is set, and a file with it, too: leave one out")
        if self.admin_oidc_issuer and not (self.admin_oidc_client and self.admin_oidc_roles and self.admin_web_url):
            raise ValueError("--admin-oidc-issuer needs --admin-oidc-client, --admin-oidc-roles and --admin-web-url")

    @property
    def admin_address(self) -> str:
        """Where both listen."""
        return self.admin_bind or (EVERYWHERE if self.asks_who else LOOPBACK)

    @property
    def asks_who(self) -> bool:
        """Whether nobody comes in without saying who it is."""
        return bool(self.admin_oidc_issuer) or any(given or path for given, path in self.passwords.values())

    @property
    def passwords(self) -> Mapping[Role, tuple[Secret | None, str]]:
        """The password of each role, or the file that it is in."""
        return {
            Role.ADMIN: (self.admin_pass, self.admin_pass_file),
            Role.OPERATOR: (self.admin_operator_pass, self.admin_operator_pass_file),
            Role.VIEWER: (self.admin_viewer_pass, self.admin_viewer_pass_file),
        }
