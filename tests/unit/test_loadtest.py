"""The measuring tools: a wrong figure is worse than none."""

from __future__ import annotations

import subprocess
import sys

import pytest
from loadtest import directory, directory_changes, processes, report, run
from loadtest.compare import __main__ as compare
from loadtest.compare import aims, document
from loadtest.compare.sender import Replies
from loadtest.content import stuffed
from loadtest.processes import Tree, Trouble

BURN = "import time\nend = time.process_time() + {seconds}\nwhile time.process_time() < end: pass\n"


def started(code):
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def child():
    """Starts Python code; it has said a line when it is given back, and is ended afterwards."""
    made = []

    def start(code):
        made.append(started(code))
        assert made[-1].stdout.readline()
        return made[-1]

    yield start
    for process in made:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_cpu_time_of_a_tree_counts_the_living_and_the_reaped_once(child):
    burn = BURN.format(seconds=0.2)
    used = "print('done', flush=True)\nprint(sum(os.times()[:4]), flush=True)\ninput()"
    code = f"import os, subprocess, sys\n{burn}\nsubprocess.run([sys.executable, '-c', {burn!r}])\n{used}"
    process = child(code)
    tree = Tree(process.pid)
    assert tree.cpu() == pytest.approx(float(process.stdout.readline()), abs=0.05)
    assert tree.cpu() >= 0.38
    spent = tree.cpu()
    assert tree.settle(quiet=0.1) == pytest.approx(spent, abs=0.05)


def test_cpu_time_counts_grandchildren_that_live(child):
    inner = BURN.format(seconds=0.2) + "print('inner', flush=True)\ninput()"
    code = (
        f"import subprocess, sys\np = subprocess.Popen([sys.executable, '-c', {inner!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "p.stdout.readline()\nprint('done', flush=True)\ninput()\np.stdin.close()"
    )
    process = child(code)
    tree = Tree(process.pid)
    assert len(tree.pids()) == 2
    assert tree.cpu() >= 0.19
    assert tree.memory().rss > tree.memory().pss > 1 << 20
    assert tree.memory().rss > tree.memory().own > 0


def test_a_tree_that_never_rests_is_told(child):
    process = child("print('on', flush=True)\nwhile True: pass")
    with pytest.raises(Trouble, match="did not come to rest"):
        Tree(process.pid).settle(quiet=0.05, limit=0.3)


def test_what_has_ended_costs_nothing():
    process = started("pass")
    process.communicate()
    assert Tree(process.pid).cpu() == 0
    assert Tree(process.pid).memory() == (0, 0, 0)


def alive(pid):
    try:
        return processes._stat(pid)[0] != "Z"
    except OSError:
        return False


def test_stop_ends_what_it_started_and_what_is_below(tmp_path):
    inner = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); input()"
    code = f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {inner!r}], stdin=subprocess.PIPE)\nprint('up', flush=True)\ntime.sleep(60)"
    process = processes.start([sys.executable, "-c", code], tmp_path / "log")
    processes.wait_for(lambda: (tmp_path / "log").read_text() == "up\n", "word")
    below = Tree(process.pid).pids()[1:]
    assert len(below) == 1
    processes.stop(process)
    processes.wait_for(lambda: not alive(below[0]), "end")


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1), (0.001, 1)])
def test_quantiles_are_values_that_occurred(share, value):
    assert report.quantile(range(1, 101), share) == value


def test_spread_of_nothing_and_of_one():
    assert report.spread([]) == {"count": 0}
    assert report.spread([3.0]) == {"count": 1, "min": 3.0, "p50": 3.0, "p95": 3.0, "p99": 3.0, "max": 3.0}


def test_ratios_are_taken_within_a_round():
    assert report.ratios([10.0, None, 30.0], [5.0, 5.0, 10.0]) == [2.0, 3.0]
    assert report.Range.of([3, 1, 2]) == (2, 1, 3)
    assert report.Range.of([]) is None


def test_replies_are_whole_however_they_arrive():
    octets = b"250-mx\r\n250-SIZE\r\n250 OK\r\n550 5.1.1 no\r\n354 go\r\n"
    for cut in range(len(octets) + 1):
        replies = Replies()
        assert replies.feed(octets[:cut]) + replies.feed(octets[cut:]) == [b"250", b"550", b"354"]


def test_a_message_ends_once_and_is_as_large_as_asked():
    message = stuffed(4096)
    assert message.count(b"\r\n.\r\n") == 1
    assert message.endswith(b"x\r\n.\r\n")
    assert 4000 < len(message) <= 4110


def outcome(rate=100.0, busy=0.5, failures=0):
    return run.Outcome(1000, rate, failures, busy, 100.0)


def test_the_verdict_says_when_the_client_was_the_limit():
    assert "server was the limit" in run.verdict(outcome(), outcome(1000.0))[0]
    assert "80% of what this client does" in run.verdict(outcome(800.0), outcome(1000.0))[0]
    assert "core was 90% busy" in run.verdict(outcome(busy=0.9), outcome(1000.0))[0]
    assert "Not calibrated" in run.verdict(outcome(), None)[0]
    assert "3 requests failed" in run.verdict(outcome(failures=3), outcome(1000.0))[0]


def test_locusts_table_is_read(tmp_path):
    stats = tmp_path / "stats.csv"
    stats.write_text(
        "Type,Name,Request Count,Failure Count,Requests/s\n"
        "SMTP,message,100,1,10.5\nSMTP,message pipelined,50,0,5.0\nSMTP,rcpt unknown,30,2,3\n,Aggregated,180,3,18.5\n"
    )
    assert run.outcome(stats, 0.5, 1.49) == run.Outcome(149, 15.5, 3, 0.5, 10_000.0)


def case(**costs):
    samples = {
        name: [{"cpu_us": each, "per_second": 1000.0, "client_busy": 0.9} for each in of] for name, of in costs.items()
    }
    return {
        "title": "Accept",
        "unit": "message",
        "promises": {},
        "missing": {"haraka": "not there"},
        "samples": samples,
    }


def results(**cases):
    return {
        "machine": {
            "when": "now",
            "cpu": "one",
            "cpus": 2,
            "memory_gib": 1,
            "kernel": "6",
            "python": "3",
            "filesystem": "ext4",
            "fdatasync_ms": {"p50": 0.1, "p99": 0.2},
            "others_busy": 0.0,
        },
        "busy_limit": 0.3,
        "versions": {"mailmoat": "mailmoat 1"},
        "command": "x",
        "rounds": 2,
        "options": {"messages": 10},
        "cases": cases,
    }


def test_aims_are_judged_by_the_median_of_ratios_within_rounds():
    found = aims.verdicts(results(new=case(mailmoat=[100, 200], postfix=[600, 1000])))
    assert "5.5 (5.0-6.0) | met |" in found
    assert "not met" in aims.verdicts(results(new=case(mailmoat=[100], postfix=[400])))


def test_a_round_that_failed_is_shown_and_left_out():
    failing = case(mailmoat=[100.0, 100.0], postfix=[500.0])
    failing["samples"]["postfix"].insert(0, {"failed": "no greeting"})
    text = document.whole(results(new=failing))
    assert "postfix, in 1 of 2 rounds: no greeting" in text
    assert "haraka: not there" in text
    assert "5.00 (5.00-5.00)" in text
    assert "1,000 (1,000-1,000) †" in text


def test_publishing_keeps_what_people_wrote(tmp_path):
    target = tmp_path / "performance.md"
    document.publish(results(new=case(mailmoat=[100.0])), target)
    first = target.read_text()
    target.write_text(first + "\n## Where the time goes\n\nInto the kernel.\n")
    document.publish(results(reused=case(mailmoat=[77.0])), target)
    text = target.read_text()
    assert text.startswith("# Performance\n")
    assert text.count(document.BEGIN) == text.count(document.END) == 1
    assert "77 (77-77)" in text
    assert "100 (100-100)" not in text
    assert text.endswith("## Where the time goes\n\nInto the kernel.\n")


def test_waiting_ends_with_what_did_not_come():
    with pytest.raises(Trouble, match="no miracle within 0 s"):
        processes.wait_for(lambda: False, "miracle", seconds=0.1)


def test_an_aim_that_is_not_met_is_a_result_and_no_failure():
    slow = results(new=case(mailmoat=[400.0], postfix=[100.0]))
    assert "not met" in aims.verdicts(slow)
    assert compare.unmeasured(slow) == []


def test_only_what_could_not_be_measured_at_all_is_a_failure():
    failed = {"failed": "no greeting"}
    some, none, nobody = case(mailmoat=[100.0]), case(), case()
    some["samples"]["postfix"] = [failed]
    none["samples"] = {"mailmoat": [failed], "postfix": [failed, failed]}
    assert compare.unmeasured(results(some=some, none=none, nobody=nobody)) == ["none"]


def test_less_memory_than_before_is_no_growth():
    assert processes.growth(100, 130) == 30
    assert processes.growth(130, 100) == 0


def test_a_large_directory_is_measured_against_a_small_one(tmp_path):
    few, table = tmp_path / "few", tmp_path / "table.db"
    directory.write_text(few, 10)
    directory.write_table(table, 500)
    small, large = tmp_path / "small", tmp_path / "large"
    assert directory.compiled(0, few, small)["entries"] == 10
    assert directory.compiled(1, table, large)["entries"] == 500
    assert directory.compare(small, large, 500, 1)["rcpt_ratio"] > 0
    directory.change_table(table)
    changes = directory.compiled(1, table, large)
    assert changes["entries"] == 500
    assert changes["octets"] < 2000
    assert directory.compare(small, large, 500, 1)["rcpt_ratio"] > 0


def test_changes_are_measured_until_rcpt_knows_them(tmp_path):
    figures = directory_changes.measure(directory_changes.ROOT, 200, 2, tmp_path)
    assert 0 < figures["source"]["median"] <= figures["rcpt"]["median"]
