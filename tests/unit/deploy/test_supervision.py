"""What becomes of a process: every kind of death, of every kind of process, decided without one."""

import signal
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterodm.deploy.restarts import FIRST_PAUSE_S, LONGEST_PAUSE_S, SETTLED_S, ProcessEnd, RestartPolicy, pause_s
from clusterodm.deploy.supervision import ABORT_S, KILLED_S, LATE_S, Action, Phase, Say, Send, Start, Supervision
from clusterodm.libs.common.clocks import Instant

SERVICE = RestartPolicy(grace_s=20, silence_s=20)
NATS = RestartPolicy(grace_s=10, tier=0, silence_s=60, own=False, hint="server.log")
JOB = RestartPolicy(grace_s=5, silence_s=20, job=True)
POLICIES = {"nats": NATS, "proxy": SERVICE, "scheduler": SERVICE, "node-1": SERVICE, "greeting": JOB}


class Play:
    """A supervisor without processes: what is started runs, what gets a deadly signal ends, unless it is said not to."""

    def __init__(self, policies: dict[str, RestartPolicy] | None = None, *, deaf: Iterable[str] = ()) -> None:
        self.now = Instant(1000.0)
        self.core = Supervision(POLICIES if policies is None else policies, self.now)
        self.running: set[str] = set()
        self.hung: set[str] = set()
        self.deaf = set(deaf)
        """Do not end on SIGTERM and SIGABRT."""
        self.immortal: set[str] = set()
        self.log: list[Action] = []

    def step(self, seconds: float = 0.5) -> None:
        """Let time pass."""
        self.now += seconds
        for name in self.running - self.hung:
            self.core.heard(name, self.now, ready=True)
        self._do(self.core.tick(self.now))

    def pass_s(self, seconds: float) -> None:
        """Let more time pass, in the steps of the supervisor."""
        for _ in range(round(seconds / 0.5)):
            self.step()

    def end(self, name: str, code: int, last_words: str = "") -> None:
        """Let a process end."""
        self.running.discard(name)
        self.hung.discard(name)
        self._do(self.core.ended(name, code, self.now, last_words))

    def said(self, name: str) -> str:
        """What the user was told of a process."""
        return "\n".join(action.text for action in self.log if isinstance(action, Say) and action.name == name)

    def sent(self, name: str) -> list[signal.Signals]:
        """The signals that a process got."""
        return [action.number for action in self.log if isinstance(action, Send) and action.name == name]

    def _do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            self.log.append(action)
            if isinstance(action, Start):
                assert action.name not in self.running
                self.running.add(action.name)
                self.core.started(action.name, self.now)
            elif isinstance(action, Send):
                self._send(action.name, action.number)

    def _send(self, name: str, number: signal.Signals) -> None:
        assert name in self.running, "a signal goes to a process that is there"
        heeds = number is signal.SIGKILL or (number in {signal.SIGTERM, signal.SIGABRT} and name not in self.deaf)
        if name in self.hung and number is signal.SIGTERM:
            heeds = False  # it is stopped, or its loop does not go round
        if heeds and name not in self.immortal:
            self.end(name, 0 if number is signal.SIGTERM else -number)


def settled(**more: object) -> Play:
    """A cluster that has run for a while."""
    play = Play(**more)  # type: ignore[arg-type]
    play.pass_s(2)
    if "greeting" in play.running:
        play.end("greeting", 0)
    play.pass_s(60)
    play.log.clear()
    return play


DEATHS = [
    pytest.param(-signal.SIGKILL, id="SIGKILL"),
    pytest.param(-signal.SIGSEGV, id="SIGSEGV"),
    pytest.param(-signal.SIGTERM, id="SIGTERM from somebody else"),
    pytest.param(-34, id="a real-time signal"),
    pytest.param(0, id="exit 0"),
    pytest.param(1, id="exit 1, as when a port is taken"),
    pytest.param(78, id="exit 78"),
    pytest.param(None, id="hangs"),
]


@pytest.mark.parametrize("name", ["nats", "proxy", "scheduler", "node-1"])
@pytest.mark.parametrize("death", DEATHS)
def test_whatever_ends_a_process_that_has_run_it_is_started_again(name: str, death: int | None):
    play = settled()
    if death is None:
        play.hung.add(name)
        play.pass_s(POLICIES[name].silence_s + 1)
        assert play.sent(name) == [signal.SIGCONT, signal.SIGABRT]
        assert "no sign of life" in play.said(name)
    else:
        play.end(name, death)
    play.pass_s(2)
    assert play.running == set(POLICIES) - {"greeting"}
    assert "starting it again" in play.said(name)
    assert play.core.exit_code == 0


@pytest.mark.parametrize("name", ["proxy", "scheduler", "node-1"])
def test_wrong_settings_end_everything_at_any_time(name: str):
    play = settled()
    play.end(name, 2)
    play.pass_s(2)
    assert play.core.over
    assert play.core.exit_code == 2
    assert play.said(name) == "exit code 2: not started again"


@pytest.mark.parametrize(
    ("name", "words", "reason"),
    [
        ("proxy", "--tokens t.json: Permission denied", "proxy: exit code 1: --tokens t.json: Permission denied"),
        ("proxy", "", "proxy: exit code 1"),
        ("nats", "", "nats: exit code 1; the reason: server.log"),
    ],
)
def test_the_reason_of_an_end_is_what_the_first_process_to_fail_has_said(name: str, words: str, reason: str):
    play = Play(policies={"other": NATS, **POLICIES})
    while name not in play.running:
        play.step()
    play.end(name, 1, words)
    play.end("other", 1, "it was told to stop, and could not")
    play.pass_s(2)
    assert (play.core.over, play.core.exit_code, play.core.reason) == (True, 1, reason)


def test_who_was_told_to_stop_or_goes_on_has_no_reason():
    play = settled()
    play.end("proxy", 1, "it will be back")
    play.pass_s(2)
    play.core.stop()
    play.pass_s(2)
    assert (play.core.over, play.core.exit_code, play.core.reason) == (True, 0, "")


def test_a_panic_of_a_go_program_is_no_wrong_setting():
    play = settled()
    play.end("nats", 2)
    play.pass_s(2)
    assert "nats" in play.running


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("code", [0, 1, 2, 78])
def test_an_end_by_itself_right_at_the_first_start_is_final_unless_it_is_a_job(name: str, code: int):
    play = Play()
    while name not in play.running:
        play.step()
    play.end(name, code)
    play.pass_s(2)
    if name == "greeting":
        assert not play.core.over
        assert name not in play.running
    else:
        assert play.core.over
        assert play.core.exit_code == (2 if code == 2 and POLICIES[name].own else 1 if code != 2 else 2)
        assert "not started again" in play.said(name)


@pytest.mark.parametrize("name", POLICIES)
def test_whoever_is_killed_at_the_first_start_is_started_again(name: str):
    play = Play()
    while name not in play.running:
        play.step()
    play.end(name, -9)
    play.pass_s(2)
    assert name in play.running


@pytest.mark.parametrize(
    ("ending", "final"),
    [
        pytest.param(ProcessEnd(2, 1000.0, first=False), True, id="wrong settings, at any time"),
        pytest.param(ProcessEnd(1, 0.5, first=True), True, id="fails at the first start"),
        pytest.param(ProcessEnd(0, 0.5, first=True), True, id="ends at the first start"),
        pytest.param(ProcessEnd(-9, 0.5, first=True), False, id="killed at the first start"),
        pytest.param(ProcessEnd(1, SETTLED_S, first=True), False, id="fails after a good start"),
        pytest.param(ProcessEnd(1, 0.5, first=False), False, id="fails at a later start"),
        pytest.param(
            ProcessEnd(78, 60.0, first=True), True, id="cannot begin with what it was given, after a long while"
        ),
        pytest.param(ProcessEnd(78, 0.5, first=False), False, id="cannot begin now with what it had begun with before"),
    ],
)
def test_an_ending_is_final_only_when_another_start_would_not_help(ending: ProcessEnd, final: bool):
    assert ending.final(SERVICE) is final


def test_pauses_double_up_to_a_limit_and_start_over_after_a_good_run():
    pauses = [0.0]
    for _ in range(10):
        pauses.append(pause_s(pauses[-1], ran_s=0.1))
    assert pauses[1:4] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert pauses[-1] == LONGEST_PAUSE_S
    assert pause_s(LONGEST_PAUSE_S, ran_s=SETTLED_S) == FIRST_PAUSE_S


def test_the_next_tier_waits_until_everything_below_it_is_ready():
    play = Play()
    play.hung.add("nats")  # it lives, and says nothing yet
    play.pass_s(40)
    assert play.running == {"nats"}
    assert "not ready yet, everything else waits for it; the reason: server.log" in play.said("nats")
    play.hung.clear()
    play.pass_s(1)
    assert play.running == set(POLICIES)


AHEAD: dict[str, RestartPolicy] = {
    "nats": NATS,
    "proxy": SERVICE,
    "admin": RestartPolicy(grace_s=20, silence_s=20, lets_ahead_s=2.0),
}


def test_who_lets_others_ahead_starts_when_they_are_ready():
    play = Play(AHEAD)
    play.step()
    play.step(0.01)
    assert play.running == {"nats", "proxy"}
    play.step(0.01)
    assert play.running == set(AHEAD)


def test_who_lets_others_ahead_does_not_wait_for_ever():
    play = Play(AHEAD)
    play.hung.add("proxy")  # it lives, and says nothing yet
    play.pass_s(2)
    assert play.running == {"nats", "proxy"}
    play.pass_s(1)
    assert play.running == set(AHEAD)


def test_who_lets_others_ahead_is_started_again_like_all_others():
    play = Play(AHEAD)
    play.pass_s(3)
    play.end("admin", -signal.SIGKILL)
    play.step(FIRST_PAUSE_S / 2)
    assert "admin" not in play.running
    play.step(FIRST_PAUSE_S)
    assert "admin" in play.running


def test_the_lowest_tier_stops_last():
    play = settled(deaf={"scheduler"})
    play.core.stop()
    play.pass_s(SERVICE.grace_s - 1)
    assert play.running == {"nats", "scheduler"}
    assert play.sent("nats") == []
    play.pass_s(3)
    assert play.core.over
    assert play.sent("scheduler") == [signal.SIGTERM, signal.SIGKILL]
    assert "not finished 20 s after SIGTERM: killed" in play.said("scheduler")
    assert play.sent("nats") == [signal.SIGTERM]
    assert play.core.exit_code == 0


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0, 30.0])
def test_it_can_be_stopped_at_any_moment_of_the_start(seconds: float):
    play = Play()
    play.pass_s(seconds)
    play.core.stop()
    play.pass_s(2)
    assert play.core.over
    assert play.running == set()


def test_whatever_hangs_does_not_keep_it_from_stopping():
    play = settled(deaf=set(POLICIES))
    play.hung |= set(POLICIES)
    play.core.stop()
    play.pass_s(SERVICE.grace_s + NATS.grace_s + 2)
    assert play.core.over


def test_not_even_a_process_that_cannot_be_killed_keeps_it_from_stopping():
    play = settled(deaf={"proxy"})
    play.immortal.add("proxy")
    play.core.stop()
    play.pass_s(SERVICE.grace_s + KILLED_S + 3)
    assert play.core.over
    assert "not even SIGKILL has ended it" in play.said("proxy")


def test_a_hung_process_that_ignores_sigabrt_is_killed():
    play = settled(deaf={"scheduler"})
    play.hung.add("scheduler")
    play.pass_s(SERVICE.silence_s + ABORT_S + 2)
    assert play.sent("scheduler") == [signal.SIGCONT, signal.SIGABRT, signal.SIGKILL]
    assert "scheduler" in play.running


def test_an_abort_is_never_final_even_when_it_ends_with_the_code_of_wrong_settings():
    play = settled(deaf={"scheduler"})
    play.hung.add("scheduler")
    play.pass_s(SERVICE.silence_s + 1)
    play.end("scheduler", 2)
    play.pass_s(2)
    assert not play.core.over
    assert "scheduler" in play.running


def test_a_job_that_hangs_is_started_again_and_one_that_is_done_is_not():
    play = Play()
    play.hung.add("greeting")
    play.pass_s(SERVICE.silence_s + 3)
    assert play.sent("greeting") == [signal.SIGCONT, signal.SIGABRT]
    assert "greeting" in play.running
    play.end("greeting", 1)
    play.pass_s(60)
    assert "greeting" not in play.running
    assert not play.core.over


def test_the_time_in_which_the_supervisor_did_not_run_counts_for_nobody():
    play = settled()
    play.hung |= set(play.running)
    play.step(3600)
    assert play.log == []
    play.pass_s(SERVICE.silence_s - 1)
    assert play.log == []
    play.pass_s(2)
    assert play.sent("proxy") == [signal.SIGCONT, signal.SIGABRT]


def test_who_is_stopping_gets_all_of_its_grace_when_the_supervisor_was_stopped_meanwhile():
    play = settled(deaf={"proxy"})
    play.core.stop()
    play.step()
    play.step(3600)
    play.pass_s(SERVICE.grace_s - 2)
    assert play.sent("proxy") == [signal.SIGTERM]


def test_without_a_limit_nobody_is_ever_aborted():
    play = settled(policies={"proxy": RestartPolicy(grace_s=20)})
    play.hung.add("proxy")
    play.pass_s(600)
    assert play.log == []


def test_a_process_that_is_unwell_is_stopped_in_order_and_started_again():
    play = settled()
    for action in play.core.unwell("nats", play.now, "it cannot write any more"):
        play._do([action])
    play.pass_s(2)
    assert play.sent("nats") == [signal.SIGTERM]
    assert "nats" in play.running
    assert "it cannot write any more: stopping it" in play.said("nats")


def test_a_process_that_has_just_been_started_is_not_called_unwell():
    play = Play()
    play.step()
    assert list(play.core.unwell("nats", play.now, "it still reads its store")) == []


def test_a_process_that_cannot_be_forked_is_tried_again():
    play = settled()
    play.end("proxy", -9)
    list(play.core.not_started("proxy", play.now, "no memory"))
    play.pass_s(2)
    assert "proxy" in play.running


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("end"), st.sampled_from(sorted(POLICIES)), st.sampled_from([0, 1, 2, 78, -6, -9, -11])),
        st.tuples(st.just("hang"), st.sampled_from(sorted(POLICIES)), st.just(0)),
        st.tuples(st.just("pass"), st.just(""), st.sampled_from([1, 5, 25, 70])),
        st.tuples(st.just("sleep"), st.just(""), st.sampled_from([round(LATE_S) + 1, 3600])),
    ),
    max_size=30,
)


@given(events=EVENTS)
def test_after_any_history_either_all_run_again_or_all_have_stopped(events: list[tuple[str, str, int]]):
    play = Play()
    for kind, name, number in events:
        if kind == "end" and name in play.running:
            play.end(name, number)
        elif kind == "hang" and name in play.running:
            play.hung.add(name)
        elif kind == "pass":
            play.pass_s(number)
        elif kind == "sleep":
            play.step(number)
    play.pass_s(NATS.silence_s + 2 * LONGEST_PAUSE_S + ABORT_S + 60)
    everything = set(POLICIES) - {name for name, unit in play.core.units.items() if unit.phase is Phase.OVER}
    assert play.running == everything
    assert play.core.over or everything >= set(POLICIES) - {"greeting"}
