import dataclasses

from rnnt_qat.studies.engine import TaskProgress


@dataclasses.dataclass(frozen=True)
class Nothing:
    name: str
    is_done: bool = False

    def __call__(self, console):
        pass


def test_tasks_done_before_do_not_shorten_the_estimate():
    now = [0.0]
    tasks = [Nothing("a", is_done=True), Nothing("b"), Nothing("c", is_done=True), Nothing("d")]
    progress = TaskProgress(tasks, clock=lambda: now[0])
    lines = [progress.ended(tasks[0])]
    now[0] = 5.0
    assert progress.so_far("b: compiling") == "1/4 in 5 s; b: compiling"
    assert progress.so_far("") == "1/4 in 5 s"
    now[0] = 60.0
    lines += [progress.ended(tasks[1]), progress.ended(tasks[2])]
    now[0] = 130.0
    lines.append(progress.ended(tasks[3]))
    assert lines == [
        "a: 1/4 in 0 s",
        "b: 2/4 in 1 min 0 s, ETA 1 min 0 s",
        "c: 3/4 in 1 min 0 s, ETA 1 min 0 s",
        "d: 4/4 in 2 min 10 s, all done",
    ]
