"""A container may have fewer cores and less memory than its machine."""

import os

import pytest

from performance.recording.cgroups import allowance, cores, cpu_quota

ALL = len(os.sched_getaffinity(0))


@pytest.fixture
def told(tmp_path):
    """Write what the kernel tells of the process's cgroups; gives where."""

    def told(group, files):
        (tmp_path / "self").mkdir()
        (tmp_path / "self/cgroup").write_text(group + "\n")
        for name, text in files.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        return tmp_path / "self", tmp_path / "groups"

    return told


def first_version(quota):
    return {"cpu/app/cpu.cfs_quota_us": quota, "cpu/app/cpu.cfs_period_us": "100000"}


@pytest.mark.parametrize(
    ("group", "files", "quota"),
    [
        ("0::/pod/app", {"pod/app/cpu.max": "max 100000", "pod/cpu.max": "200000 100000"}, 2.0),
        ("0::/pod/app", {"pod/app/cpu.max": "50000 100000", "pod/cpu.max": "200000 100000"}, 0.5),
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/app", {}, None),
        ("4:cpu,cpuacct:/app", first_version("150000"), 1.5),
        ("4:cpu:/app", first_version("-1"), None),
        ("4:memory:/app", {"cpu.max": "200000 100000"}, None),
    ],
)
def test_the_narrowest_quota_of_the_cgroup_counts(told, group, files, quota):
    assert cpu_quota(*told(group, files)) == quota


@pytest.mark.parametrize(
    ("quota", "number"), [("30000", 1), ("100000", 1), ("max", ALL), ("900000000", ALL)]
)
def test_a_quota_is_worth_at_least_a_core_and_at_most_those_there_are(told, quota, number):
    assert cores(*told("0::/", {"cpu.max": f"{quota} 100000"})) == number


@pytest.mark.parametrize(
    ("group", "files", "limit"),
    [
        ("0::/pod/app", {"pod/app/memory.max": "max", "pod/memory.max": "1000"}, 1000),
        ("0::/pod/app", {"pod/app/memory.max": "500", "pod/memory.max": "1000"}, 500),
        (
            "0::/pod/app",
            {"pod/app/memory.max": "500", "pod/memory.max": "1000", "pod/memory.current": "9"},
            1000,
        ),
        ("0::/", {"memory.max": "700"}, 700),
        ("4:cpu,memory:/app", {"memory/app/memory.limit_in_bytes": "900"}, 900),
        ("4:memory:/app", {"memory/app/memory.limit_in_bytes": str(2**63 - 4096)}, None),
        ("4:cpu:/app", {"memory.max": "700"}, None),
    ],
)
def test_the_cgroup_that_is_fullest_counts(told, group, files, limit):
    allowed = allowance(*told(group, files))
    assert (allowed and allowed.limit) == limit


@pytest.mark.parametrize(
    ("group", "files"),
    [
        (
            "0::/app",
            {
                "app/memory.max": "1000",
                "app/memory.current": "900",
                "app/memory.stat": "anon 500\ninactive_file 300",
            },
        ),
        (
            "4:memory:/app",
            {
                "memory/app/memory.limit_in_bytes": "1000",
                "memory/app/memory.usage_in_bytes": "900",
                "memory/app/memory.stat": "inactive_file 7\ntotal_inactive_file 300",
            },
        ),
    ],
)
def test_what_a_container_uses_is_all_but_cached_files(told, group, files):
    assert allowance(*told(group, files)) == (1000, 600, "app")


def test_a_container_s_own_cgroup_is_the_outermost_it_sees(told):
    allowed = allowance(*told("4:memory:/docker/4f", {"memory/memory.limit_in_bytes": "900"}))
    assert allowed == (900, 0, ".")
