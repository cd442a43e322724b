"""The order checker finds each way in which a trace breaks the order of a group commit, and passes the right one."""

from __future__ import annotations

from tests.chaos.order import Call, Checker, Told, parse

ROOT = "/t/out"
JOB = f"{ROOT}/chaos"
RUN = f"{JOB}/runs/r1"
WAL = f"3<{JOB}/state.db-wal>"
LINES = f"5<{RUN}/records.jsonl>"
ACK = "/t/acknowledged"
TOLD = Told(f"{RUN}/records.jsonl", [10, 20], ["http://a/1", "http://a/2"], ["bodies/1", None])

BODY = [
    f'openat(AT_FDCWD<{ROOT}>, "{JOB}/parts/1.part", O_WRONLY|O_CREAT|O_EXCL, 0644) = 7<{JOB}/parts/1.part>',
    f'write(7<{JOB}/parts/1.part>, "one"..., 3) = 3',
    f'rename("{JOB}/parts/1.part", "{RUN}/bodies/1") = 0',
]
SYNCED = [f"fsync(7<{RUN}/bodies/1>) = 0", f"fsync(8<{RUN}/bodies>) = 0"]
RECORDS = [f'write({LINES}, "..........", 10) = 10']
RECORDS_SYNCED = [f"fdatasync({LINES}) = 0"]
COMMIT = [f'pwrite64({WAL}, "\\0\\1"..., 4096, 0) = 4096', f"fdatasync({WAL}) = 0"]
FIRST = [f'write(9<{ACK}>, "http://a/1\\n", 11) = 11']
SECOND = [f'write(9<{ACK}>, "http://a/2\\n", 11) = 11']
WHOLE = [BODY, SYNCED, RECORDS, RECORDS_SYNCED, COMMIT, FIRST]
SUMMARY = [
    f'openat(AT_FDCWD<{ROOT}>, "{RUN}/summary.json.tmp", O_WRONLY|O_CREAT|O_EXCL, 0666) = 6<{RUN}/summary.json.tmp>',
    f'write(6<{RUN}/summary.json.tmp>, "{{}}", 2) = 2',
    f"fsync(6<{RUN}/summary.json.tmp>) = 0",
    f'rename("{RUN}/summary.json.tmp", "{RUN}/summary.json") = 0',
]


def checked(*steps: list[str]) -> Checker:
    """What the checker makes of these calls of one thread."""
    return of_lines([f"100 {call}" for step in steps for call in step])


def of_lines(lines: list[str]) -> Checker:
    sizes = dict.fromkeys((f"{RUN}/records.jsonl", f"{RUN}/bodies", RUN), 0)
    checker = Checker(ROOT, ACK, TOLD, sizes)
    for call in parse(lines):
        checker.take(call)
    return checker


def test_the_right_order_has_no_fault() -> None:
    """Body, name, record, each synced; commit; word of it; and again; the summary last."""
    checker = checked(*WHOLE, RECORDS, RECORDS_SYNCED, COMMIT, SECOND, SUMMARY)
    assert checker.faults == []
    assert (checker.commits, checker.acks) == (2, 2)


def test_one_sync_of_the_file_system_is_as_good() -> None:
    """syncfs behind the renames covers bytes and names."""
    assert checked(BODY, [f"syncfs(8<{RUN}/bodies>) = 0"], RECORDS, RECORDS_SYNCED, COMMIT, FIRST).faults == []


def test_a_body_that_is_not_synced_is_found() -> None:
    """Its bytes were written under another name."""
    assert checked(BODY, SYNCED[1:], *WHOLE[2:]).faults == ["commit 1: chaos/runs/r1/bodies/1 is not synced"]


def test_a_body_on_its_way_is_nobodys_fault() -> None:
    """What lies in parts is not vouched for."""
    assert checked(BODY, SYNCED, RECORDS, RECORDS_SYNCED, BODY[:2], COMMIT, FIRST).faults == []


def test_a_name_that_is_not_synced_is_found() -> None:
    """No power cut on ext4 would show it."""
    assert checked(BODY, SYNCED[:1], *WHOLE[2:]).faults == ["commit 1: the name chaos/runs/r1/bodies/1 is not synced"]


def test_a_new_folder_must_have_its_name() -> None:
    """The folder's own sync makes the names in it durable, not its own."""
    made = [f'mkdir("{RUN}/bodies/ab", 0777) = 0', f"fsync(8<{RUN}/bodies/ab>) = 0"]
    assert checked(*WHOLE[:4], made, COMMIT).faults == ["commit 1: the name chaos/runs/r1/bodies/ab is not synced"]


def test_records_that_are_not_synced_are_found() -> None:
    """The commit vouches for their length."""
    assert checked(BODY, SYNCED, RECORDS, COMMIT, FIRST).faults == [
        "commit 1: chaos/runs/r1/records.jsonl is not synced"
    ]


def test_a_sync_that_began_before_the_write_covers_nothing() -> None:
    """Two threads: the bytes may have come too late for the sync."""
    late = [
        f"100 fdatasync({LINES} <unfinished ...>",
        f"101 {RECORDS[0]}",
        "100 <... fdatasync resumed>) = 0",
    ]
    lines = [f"100 {call}" for step in (BODY, SYNCED) for call in step]
    faults = of_lines([*lines, *late, *(f"100 {call}" for call in COMMIT)]).faults
    assert faults == ["commit 1: chaos/runs/r1/records.jsonl is not synced"]


def test_what_counts_is_the_moment_of_the_commits_bytes() -> None:
    """The log may reach the disk before its sync: what is synced between its write and its sync is too late."""
    assert checked(BODY, SYNCED, RECORDS, COMMIT[:1], RECORDS_SYNCED, COMMIT[1:]).faults == [
        "commit 1: chaos/runs/r1/records.jsonl is not synced"
    ]


def test_a_body_that_is_named_after_the_commit_is_found() -> None:
    """The record speaks of what is not there."""
    assert checked(RECORDS, RECORDS_SYNCED, COMMIT, BODY, SYNCED, FIRST).faults == ["commit 1: bodies/1 is not there"]


def test_word_before_the_commit_is_found() -> None:
    """The sync of the log is what counts, not its write."""
    assert checked(*WHOLE[:4], FIRST, COMMIT).faults == ["http://a/1 is given out before its commit"]
    assert checked(*WHOLE[:4], COMMIT[:1], FIRST).faults == ["http://a/1 is given out before its commit"]


def test_word_of_what_is_in_no_record_is_found() -> None:
    """The second record is not written yet."""
    assert checked(*WHOLE, SECOND).faults == ["http://a/2 is given out before its commit"]


def test_a_summary_before_the_last_commit_is_found() -> None:
    """It is the sign of a whole run."""
    assert checked(*WHOLE, SUMMARY).faults == ["summary.json tells of 2 ends, 1 are committed"]


def test_a_summary_that_is_not_synced_is_found() -> None:
    """Its name would stand for no bytes."""
    faults = checked(*WHOLE, RECORDS, RECORDS_SYNCED, COMMIT, SUMMARY[:2], SUMMARY[3:]).faults
    assert faults == ["summary.json gets its name before its bytes are synced"]


def test_a_link_carries_what_is_not_synced() -> None:
    """A second name of a content whose bytes may be lost."""
    linked = [BODY[0], BODY[1], f'linkat(AT_FDCWD<{ROOT}>, "{JOB}/parts/1.part", 4<{RUN}/bodies>, "1", 0) = 0']
    faults = checked(linked, SYNCED[1:], *WHOLE[2:]).faults
    assert faults == ["commit 1: chaos/runs/r1/bodies/1 is not synced"]


def test_truncation_must_be_synced_too() -> None:
    """Else a line of an earlier life may come back."""
    cut = [f"ftruncate({LINES}, 0) = 0"]
    assert checked(cut, COMMIT).faults == ["commit 1: chaos/runs/r1/records.jsonl is not synced"]


def test_calls_that_failed_and_lines_of_others_are_passed_over() -> None:
    """A name that is there already, a signal, an exit."""
    lines = [
        f'100 mkdir("{RUN}/bodies", 0777) = -1 EEXIST (File exists)',
        "100 --- SIGCHLD {si_signo=SIGCHLD} ---",
        "100 +++ exited with 0 +++",
        f"101 fsync(7<{RUN}/x> <unfinished ...>",
        f'100 write(7<{RUN}/x>, "a) = 1\\", 3<b>", 3) = 3',
        "101 <... fsync resumed>) = 0",
    ]
    assert list(parse(lines)) == [
        Call("write", f'7<{RUN}/x>, "a) = 1\\", 3<b>", 3', 3, 4, 4),
        Call("fsync", f"7<{RUN}/x>", 0, 3, 5),
    ]
