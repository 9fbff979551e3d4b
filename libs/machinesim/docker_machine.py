"""`docker-machine`, as far as an autoscaler meets it: create, ssh, inspect, ls, rm, --help.

It reads its flags as strictly as the real one, keeps its own list, and "rents" machines that are directories; the node on
one is a simulated NodeODM on an address of its own. Every step can be ordered to fail or to take its time (`Place`):

    create           before anything is rented, and nothing is left in the list
    create-called    the provider refuses: nothing is rented, and an entry without an id is left in the list
    create-rented    the provider has it, the driver's next call fails: an entry without an id is left in the list
    create-noted     it is noted, and setting it up fails
    ssh, inspect, ls, rm
    rm-remote        the provider does not remove it
    rm-removed       the provider has removed it, and the entry stays in the list

An entry is written before the provider is called, and again, with the provider's id, when the driver's `Create` has returned
(docker/machine libmachine/libmachine.go). What a driver does with an entry without an id, and with one whose machine is gone,
is written down in `NO_ID` and `GONE`: digitalocean's dereferences nil and takes its plugin along, scaleway's and hetzner's fail,
amazonec2's mentions it and goes on.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from clusterodm.libs.machinesim.flags import DRIVERS, Usage, parse, usage
from clusterodm.libs.machinesim.place import HELP, VARIABLE, Missing, Place, read_json, write_json

NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9\-.]*")
IDS: Final = {"digitalocean": "DropletID", "amazonec2": "InstanceId", "hetzner": "ServerID", "scaleway": "ServerID"}
NUMBERED: Final = ("digitalocean", "hetzner")
NO_ID: Final = {
    "digitalocean": "unexpected EOF",
    "hetzner": "server ID was 0",
    "scaleway": "StatusCode: 404, Type: not_found, APIMessage: resource is not found",
}
"""How removing fails where there is no id; a driver that is not here removes what there is."""
GONE: Final = {"scaleway": "StatusCode: 404, Type: not_found, APIMessage: resource is not found"}
"""How removing fails where the provider has the machine no more."""
NOT_FOUND: Final = "404 The resource you requested could not be found."
USAGE: Final = f"""Usage: docker-machine [OPTIONS] COMMAND [arg...]

A simulated docker-machine: its machines are directories below {VARIABLE}, which has to be set.
Commands: create, ssh, inspect, ls, status, rm. Drivers: {", ".join(DRIVERS)}.
Any region, size and image is taken; docker-machine hands them on to the provider unread, and so does this."""
NO_DRIVER: Final = (
    'Driver "{0}" not found. Do you have the plugin binary "docker-machine-driver-{0}" accessible in your PATH?'
)
BEFORE_CREATING: Final = 3
"""The code of a creation that ends with its pre-create checks."""
BIN: Final = "machine-bin"
"""Folder with the programs that exist on every machine."""


class Failed(Exception):
    """The message is what the program says before it ends with code 1."""


def main(words: Sequence[str], place: Place | None = None) -> int:
    """Run one command; `place`: the directory, where it is not told by the environment."""
    if place is None and VARIABLE not in os.environ and (not words or words[0] in HELP):
        say(USAGE)
        return 0
    try:
        place = place or Place.of_environment()
    except Missing as missing:
        print(f"docker_machine: {missing}", file=sys.stderr)  # noqa: T201 what the program says
        return 2
    place.note(words=list(words), variables=sorted(name for name in place.environment if name.isupper()))
    commands: dict[str, Callable[[Place, list[str]], int]] = {
        "create": create,
        "ssh": ssh,
        "inspect": inspect,
        "ls": ls,
        "status": status,
        "rm": rm,
    }
    command = words[0] if words else "--help"
    try:
        if command in HELP:
            say(USAGE)
            return 0
        if command != "create":
            stumble(place, command)
        return commands.get(command, unknown)(place, list(words[1:]) if command in commands else list(words))
    except (Failed, Usage) as error:
        print(error, file=sys.stderr)  # noqa: T201 what the program says
        return 1


def unknown(_place: Place, words: list[str]) -> int:
    """Refuse a command that there is not."""
    raise Failed(f"docker-machine: '{words[0]}' is not a docker-machine command. See 'docker-machine --help'.")


def create(place: Place, words: list[str]) -> int:
    """Rent a machine."""
    driver = driver_of(words)
    if driver not in DRIVERS or driver in place.knobs().get("absent_drivers", ()):
        raise Failed(NO_DRIVER.format(driver))
    absent = place.knobs().get("absent_flags", ())
    if "--help" in words:
        say("\n".join(usage(driver, absent)))
        return 0
    given = parse(driver, words, place.environment, absent)
    if not given.words:
        raise Failed("Error: No machine name specified")
    name, *more = given.words
    if more:
        raise Failed(f"Invalid command line. Found extra arguments [{' '.join(more)}]")
    if not NAME.fullmatch(name):
        raise Failed("Error creating machine: Invalid hostname specified. Allowed hostname chars are: 0-9a-zA-Z . -")
    if (place.store / f"{name}.json").exists():
        raise Failed(f'Docker machine "{name}" already exists')
    say("Running pre-create checks...")
    message = place.take_failure("create")
    if message is not None:
        print(f"Error with pre-create check: {message}", file=sys.stderr)  # noqa: T201 what the program says
        return BEFORE_CREATING
    note(place, name, driver, "", 0 if driver in NUMBERED else "")
    say("Creating machine...")
    stumble(place, "create-called")
    rent(place, name, driver, {flag: values for flag, values in given.flags.items() if not secret(flag)})
    say("Docker is up and running!")
    return 0


def rent(place: Place, name: str, driver: str, flags: dict[str, list[str]]) -> None:
    """Make the machine, and note where it is. Scaleway's driver calls it as it is told, not as docker-machine does."""
    time.sleep(place.knobs().get("create_s", 0))
    address = place.address()
    number = 500000 + len(place.calls())
    called = name if driver != "scaleway" else (flags.get("scaleway-name") or ["a-made-up-name"])[-1]
    machine = {"name": name, "called": called, "driver": driver, "address": address, "flags": flags, "number": number}
    write_json(place.cloud / f"{name}.json", machine)
    stumble(place, "create-rented")
    note(place, name, driver, address, number if driver in NUMBERED else f"i-{number}")
    say("Waiting for machine to be running, this may take a few minutes...")
    time.sleep(place.knobs().get("provision_s", 0))
    stumble(place, "create-noted")


def note(place: Place, name: str, driver: str, address: str, number: str | int) -> None:
    """Write an entry of docker-machine's list."""
    content = {"MachineName": name, "IPAddress": address, IDS.get(driver, "Id"): number}
    write_json(place.store / f"{name}.json", {"Driver": content, "DriverName": driver, "Name": name})


def ssh(place: Place, words: list[str]) -> int:
    """Run a command on a machine: on this computer, with the machine's own few programs in PATH."""
    if not words:
        raise Failed("Error: Expected one machine name as an argument")
    name, *command = words
    known(place, name)
    machine = read_json(place.cloud / f"{name}.json")
    if machine is None:
        raise Failed(f'Error: Cannot run SSH command: Host "{name}" is not running')
    if command[-2:] == ["docker", "version"]:
        if machine["driver"] == "amazonec2" and command[0] != "sudo":
            raise Failed("permission denied while trying to connect to the Docker daemon socket\nexit status 1")
        say("Version: 27.0")
        return 0
    environment = {
        "PATH": str(place.root / BIN),
        "HOME": str(place.root),
        "MACHINESIM_DIR": str(place.root),
        "MACHINESIM_MACHINE": name,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    program = str(place.root / BIN / command[0])
    return subprocess.run([program, *command[1:]], env=environment, cwd=place.root, check=False).returncode  # noqa: S603 a test's own words


def inspect(place: Place, words: list[str]) -> int:
    """Show what is known of a machine."""
    say(json.dumps(known(place, words[0] if words else ""), indent=4))
    return 0


def ls(place: Place, words: list[str]) -> int:
    """List machines; only `--filter name=REGEX` and `--format`, or `-q`."""
    pattern, template = "", "{{.Name}}"
    while words:
        word = words.pop(0)
        if word == "--filter" and words and words[0].startswith("name="):
            pattern = words.pop(0).removeprefix("name=")
        elif word == "--format" and words:
            template = words.pop(0)
        elif word not in {"-q", "--quiet"}:
            raise Usage(f"Incorrect Usage.\n\nflag provided but not defined: {word}")
    for path in sorted(place.store.glob("*.json")):
        if re.search(pattern, path.stem):
            state, error = asked(place, path.stem)
            shown = template.replace("{{.Name}}", path.stem).replace("{{.State}}", state)
            say(shown.replace("{{.Error}}", error))
    return 0


def status(place: Place, words: list[str]) -> int:
    """Ask the provider how a machine is."""
    name = words[0] if words else ""
    known(place, name)
    state, error = asked(place, name)
    if error:
        raise Failed(error)
    say(state)
    return 0


def asked(place: Place, name: str) -> tuple[str, str]:
    """Ask the provider for a machine's state as a driver does, by its id: the state, or what went wrong."""
    if not number_of(known(place, name)):
        return "Error", "dropletID is invalid because cannot be less than 1"
    return ("Running", "") if (place.cloud / f"{name}.json").exists() else ("Error", NOT_FOUND)


def number_of(noted: dict[str, Any]) -> str | int:
    """Give the provider's id of an entry; empty or 0: it was never noted."""
    found: str | int = noted.get("Driver", {}).get(IDS.get(noted.get("DriverName", ""), "Id"), "")
    return found


def rm(place: Place, words: list[str]) -> int:
    """Remove machines. With -f, what the provider did not remove is forgotten all the same."""
    options = {word for word in words if word.startswith("-")}
    if unknown := options - {"-y", "-f", "--force"}:
        raise Usage(f"Incorrect Usage.\n\nflag provided but not defined: {unknown.pop()}")
    if "-y" not in options and "-f" not in options:
        say("Are you sure? (y/n): ")  # nobody answers, so nothing is removed, and that is no failure
        return 0
    forced = bool(options & {"-f", "--force"})
    for name in (word for word in words if not word.startswith("-")):
        try:
            known(place, name)
            stumble(place, "rm-remote")
            end(place, name)
            stumble(place, "rm-removed")
        except Failed as error:
            sentence = f'Error removing host "{name}": {error}'
            if not forced:
                raise Failed(sentence) from None
            print(sentence, file=sys.stderr)  # noqa: T201 what the program says
        if (place.store / f"{name}.json").exists():
            (place.store / f"{name}.json").unlink()
            say(f"Successfully removed {name}")
        else:
            print(f'Can\'t remove "{name}"', file=sys.stderr)  # noqa: T201 what the program says
    return 0


def end(place: Place, name: str) -> None:
    """End a machine and the node on it; a driver destroys only what it has the id of. Raises Failed."""
    noted = known(place, name)
    machine = read_json(place.cloud / f"{name}.json")
    driver = noted.get("DriverName", "")
    if not number_of(noted):
        if driver in NO_ID:
            raise Failed(NO_ID[driver])
        return
    if machine is None:
        if driver in GONE:
            raise Failed(GONE[driver])
        return
    end_node(machine)
    (place.cloud / f"{name}.json").unlink(missing_ok=True)


def end_node(machine: dict[str, Any]) -> None:
    """End the process that plays a machine's node."""
    if pid := machine.get("pid"):
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def known(place: Place, name: str) -> dict[str, Any]:
    """Find a machine in docker-machine's list. Raises Failed."""
    found = read_json(place.store / f"{name}.json")
    if found is None:
        raise Failed(
            f'Docker machine "{name}" does not exist. Use "docker-machine ls" to list machines. '
            'Use "docker-machine create" to add a new one.'
        )
    return found


def stumble(place: Place, step: str) -> None:
    """Take the time that a step shall take, and fail where that was ordered."""
    time.sleep(place.knobs().get(f"{step}_s", 0) if step != "create" else 0)
    message = place.take_failure(step)
    if message is not None:
        raise Failed(message)


def driver_of(words: Sequence[str]) -> str:
    """Find the driver before anything is parsed, as the real program does."""
    for place, word in enumerate(words):
        if word in {"--driver", "-d"} and place + 1 < len(words):
            return words[place + 1]
        if word.startswith(("--driver=", "-d=")):
            return word.partition("=")[2]
    return os.environ.get("MACHINE_DRIVER", "virtualbox")


def secret(flag: str) -> bool:
    """Whether a flag's value is nobody's business."""
    return any(word in flag for word in ("token", "key", "organization"))


def say(line: str) -> None:
    """Say something on standard output."""
    print(line, flush=True)  # noqa: T201 what the program says


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
