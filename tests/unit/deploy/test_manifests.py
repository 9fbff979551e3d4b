"""What deploy/ holds for other programs agrees with the code: names, ports, settings, time limits."""

import configparser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from clusterodm.deploy.cli import MODULES
from clusterodm.deploy.probe import PROBES
from clusterodm.deploy.settings import UpSettings
from clusterodm.libs.common.exit_codes import EXIT_USAGE
from clusterodm.libs.common.settings.settings import ENVIRONMENT_PREFIX

DEPLOY = Path(__file__).parents[3] / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
COMPOSE = sorted(DEPLOY.glob("docker-compose*.yml"))
SYSTEMD = sorted((DEPLOY / "systemd").glob("*.service"))
SERVICES = {"proxy", "scheduler", "autoscaler", "admin"}
DEFAULTS = UpSettings()


def objects() -> list[dict[str, Any]]:
    """Read everything that `kubectl apply -f deploy/kubernetes` would create."""
    return [each for path in KUBERNETES for each in yaml.safe_load_all(path.read_text())]


def named(kind: str, name: str) -> dict[str, Any]:
    """Find one object."""
    [found] = [each for each in objects() if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def workloads() -> list[dict[str, Any]]:
    return [each for each in objects() if each["kind"] in {"Deployment", "StatefulSet"}]


def container(workload: dict[str, Any]) -> dict[str, Any]:
    [only] = workload["spec"]["template"]["spec"]["containers"]
    return dict(only)


def is_setting(name: str) -> bool:
    return (
        not name.startswith(ENVIRONMENT_PREFIX) or name.removeprefix(ENVIRONMENT_PREFIX).lower() in UpSettings.settings
    )


class Loader(yaml.SafeLoader):
    """Reads what docker compose adds to YAML."""


Loader.add_constructor("!reset", lambda *_: None)
Loader.add_constructor("!override", lambda loader, node: loader.construct_sequence(node))


def compose_environments() -> Iterator[str]:
    for path in COMPOSE:
        for service in yaml.load(path.read_text(), Loader)["services"].values():  # noqa: S506 a safe loader, see above
            yield from service.get("environment", {})


def compose_services() -> dict[str, dict[str, Any]]:
    """Read every container of the compose files that is not made from another one there, upon what it overrides."""
    found: dict[str, dict[str, Any]] = {}
    alone = yaml.load((DEPLOY / "docker-compose.yml").read_text(), Loader)["services"]  # noqa: S506 a safe loader, see above
    for path in COMPOSE:
        for name, service in yaml.load(path.read_text(), Loader)["services"].items():  # noqa: S506 a safe loader, see above
            if "image" in service:
                found[f"{path.name} {name}"] = alone.get(name, {}) | service
    return found


@pytest.mark.parametrize(
    ("name", "service"), compose_services().items(), ids=lambda each: each if isinstance(each, str) else ""
)
def test_every_container_has_no_rights_beyond_a_user_and_writes_to_volumes_only(name: str, service: dict[str, Any]):
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("read_only", False) or "nodeodm" in name


def test_no_network_of_nodes_holds_the_admin_or_nats():
    services = compose_services()
    of_nodes = {network for name, each in services.items() if "nodeodm" in name for network in each["networks"]}
    assert of_nodes == {"default"}
    for name in ("admin", "nats"):
        assert not of_nodes & set(services[f"docker-compose.yml {name}"]["networks"])
    assert services["docker-compose.yml admin"]["environment"]["CLUSTERODM_ADMIN_BIND"] == "0.0.0.0"
    assert all("127.0.0.1}" in port for port in services["docker-compose.yml admin"]["ports"])


@pytest.mark.parametrize("workload", workloads(), ids=lambda each: each["metadata"]["name"])
def test_every_pod_has_no_rights_beyond_a_user_and_writes_to_volumes_only(workload: dict[str, Any]):
    context = container(workload)["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert workload["spec"]["template"]["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    mounted = {each["name"] for each in container(workload)["volumeMounts"]}
    claimed = {each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", [])}
    assert mounted == claimed | {each["name"] for each in workload["spec"]["template"]["spec"]["volumes"]}


def test_no_pod_reaches_the_admin_but_prometheus_its_metrics():
    [only] = named("NetworkPolicy", "admin")["spec"]["ingress"]
    assert only["ports"] == [{"port": "metrics"}]
    [scraper] = only["from"]
    assert scraper["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "prometheus"}}
    assert {"name": "CLUSTERODM_ADMIN_BIND", "value": "0.0.0.0"} in container(named("Deployment", "admin"))["env"]


def test_every_service_is_a_user_of_nats_of_its_own():
    for service in SERVICES:
        [workload] = [each for each in workloads() if each["metadata"]["name"] == service]
        given = {each["name"]: each.get("value") for each in container(workload)["env"]}
        assert given["CLUSTERODM_NATS_URL"] == f"nats://{service}:$(NATS_PASSWORD)@nats:4222"
    for path in COMPOSE:
        for name, service in yaml.load(path.read_text(), Loader)["services"].items():  # noqa: S506 a safe loader, see above
            user = {"register": "operator"}.get(name, name.partition("-")[0])
            for url in service.get("environment", {}).get("CLUSTERODM_NATS_URL", "").split(","):
                assert not url or url.startswith(f"nats://{user}:${{NATS_{user.upper()}_PASSWORD:-{user}}}@nats")
    for name in ("nats.conf", "nats-ha.conf"):
        assert "include nats-users.conf" in (DEPLOY / name).read_text()
    assert "include nats-users.conf" in named("ConfigMap", "nats")["data"]["nats-server.conf"]


def test_there_is_a_way_for_each_service():
    assert {container(each)["name"] for each in workloads()} == SERVICES | {"nats"}
    assert {container(each)["args"][0] for each in workloads() if container(each)["name"] != "nats"} == SERVICES


@pytest.mark.parametrize("workload", workloads(), ids=lambda each: each["metadata"]["name"])
def test_a_workload_is_selected_by_its_own_labels_and_hears_of_no_services(workload: dict[str, Any]):
    spec = workload["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert labels["app.kubernetes.io/name"] == workload["metadata"]["name"]
    assert spec["template"]["spec"]["enableServiceLinks"] is False, "CLUSTERODM_PORT=tcp://... would be a setting"
    if workload["kind"] == "StatefulSet":
        assert named("Service", spec["serviceName"])["spec"]["clusterIP"] == "None"


def test_services_lead_to_ports_that_exist_and_are_the_defaults():
    ports = {
        each["metadata"]["name"]: {p["name"]: p["containerPort"] for p in container(each).get("ports", [])}
        for each in workloads()
    }
    for service in (each for each in objects() if each["kind"] == "Service"):
        exposed = ports[service["spec"]["selector"]["app.kubernetes.io/name"]]
        for port in service["spec"].get("ports", []):
            assert exposed[port["targetPort"]] == port["port"]
    metrics = int(named("ConfigMap", "clusterodm")["data"]["CLUSTERODM_METRICS_PORT"])
    assert ports["proxy"] == {"http": DEFAULTS.port, "metrics": metrics}
    assert ports["admin"] == {"telnet": DEFAULTS.admin_cli_port, "web": DEFAULTS.admin_web_port, "metrics": metrics}
    assert {ports[name]["metrics"] for name in SERVICES} == {metrics}


def test_every_variable_is_a_setting():
    given = set(named("ConfigMap", "clusterodm")["data"])
    for each in workloads():
        given |= {variable["name"] for variable in container(each).get("env", [])}
    assert [name for name in sorted({*given, *compose_environments()}) if not is_setting(name)] == []
    assert given & {"CLUSTERODM_NATS_URL", "CLUSTERODM_PROXY_URL"}


def test_as_many_copies_as_servers():
    servers = named("StatefulSet", "nats")["spec"]["replicas"]
    assert named("ConfigMap", "clusterodm")["data"]["CLUSTERODM_NATS_REPLICAS_COUNT"] == str(servers)
    routes = named("ConfigMap", "nats")["data"]["nats-server.conf"]
    assert [f"nats://nats-{number}.nats-servers:6222" in routes for number in range(servers)] == [True] * servers


def test_requests_in_flight_may_finish_before_the_kill():
    for each in workloads():
        drain_s = sum(float(v["value"]) for v in container(each).get("env", []) if v["name"] == "CLUSTERODM_DRAIN_S")
        grace_s = each["spec"]["template"]["spec"].get("terminationGracePeriodSeconds", 30)
        assert grace_s > DEFAULTS.stop_timeout_s + drain_s, each["metadata"]["name"]


def test_probes_ask_services_that_know_an_answer():
    for each in workloads():
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            words = container(each).get(probe, {}).get("exec", {}).get("command", [])
            ours = words[:3] == ["python", "-m", "clusterodm.deploy.probe"] and words[3] in PROBES
            assert not words or ours or each["metadata"]["name"] == "nats"


@pytest.mark.parametrize("path", SYSTEMD, ids=lambda path: path.name)
def test_a_unit_starts_a_program_that_exists_and_gives_it_time_to_stop(path: Path):
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(path.read_text())
    program, *words = unit["Service"]["ExecStart"].split()
    assert Path(program).name in {"clusterodm", "nats-server"}
    assert words[0] in {*MODULES, "%i", "-c"}
    assert int(unit["Service"]["TimeoutStopSec"]) > DEFAULTS.stop_timeout_s
    assert is_setting(unit["Service"].get("Environment", "").partition("=")[0])


def test_nats_is_started_again_only_when_it_cannot_write_and_there_is_room():
    script = container(named("StatefulSet", "nats"))["livenessProbe"]["exec"]["command"][2]
    compose = yaml.load((DEPLOY / "docker-compose.yml").read_text(), Loader)  # noqa: S506 a safe loader, see above
    for each in (script, compose["services"]["nats"]["healthcheck"]["test"][1].replace("$$", "$")):
        condition = each.partition("; then")[0]
        assert "grep -q 'write error'" in condition
        assert "&& [ \"$(df -Pk /data | awk 'END { print $4 }')\" -gt 65536 ]" in condition


@pytest.mark.parametrize("name", ["nats.conf", "nats-ha.conf"])
def test_nats_writes_to_the_disk_before_it_answers(name: str):
    assert "sync_interval: always" in (DEPLOY / name).read_text()
    assert "max_file_store:" in (DEPLOY / name).read_text()
    assert "sync_interval: always" in named("ConfigMap", "nats")["data"]["nats-server.conf"]


def test_haproxy_knows_every_proxy_and_logs_no_token():
    config = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
    services = yaml.load((DEPLOY / "docker-compose.ha.yml").read_text(), Loader)["services"]  # noqa: S506 as above
    proxies = [name for name in services if name.partition("-")[0] == "proxy"]
    assert [line.split()[1:] for line in config.splitlines() if line.startswith("    server ")] == [
        [name, f"{name}:{DEFAULTS.port}"] for name in proxies
    ]
    assert "%HP" in config
    assert "%r " not in config
    assert "option httplog" not in config


def test_every_autoscaler_keeps_its_directory():
    claims = named("StatefulSet", "autoscaler")["spec"]["volumeClaimTemplates"]
    mounted = {
        each["name"]: each["mountPath"] for each in container(named("StatefulSet", "autoscaler"))["volumeMounts"]
    }
    assert [mounted[each["metadata"]["name"]] for each in claims] == ["/data"]
    for path in COMPOSE:
        services = yaml.load(path.read_text(), Loader)["services"]  # noqa: S506 a safe loader, see above
        for name in (each for each in services if each.startswith("autoscaler")):
            if "extends" in services[name] or "command" in services[name]:
                assert services[name]["volumes"] == [f"{name}:/data"]


@pytest.mark.parametrize("name", ["clusterodm.service", "clusterodm@.service"])
def test_systemd_hears_when_ours_is_ready_and_replaces_what_hangs(name: str):
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[method-assign, assignment] # systemd's names have capitals
    parser.read(DEPLOY / "systemd" / name)
    unit = dict(parser["Service"])
    assert unit["Type"] == "notify"
    assert int(unit["WatchdogSec"]) >= DEFAULTS.watchdog_s
    assert unit["Restart"] in {"always", "on-failure"}, "a process that its watchdog aborted is started again"
    assert int(unit["RestartPreventExitStatus"]) == EXIT_USAGE, "another start does not mend wrong settings"


def test_the_image_has_what_the_manifests_of_kubernetes_lead_to():
    installs = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if "uv sync" in line]
    assert len(installs) == 2
    assert all("--extra kubernetes" in line and "--extra oidc" in line for line in installs)
