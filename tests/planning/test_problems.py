from pipeline.errors import Severity
from pipeline.planning.problems import MOST_PROBLEMS, Findings, Source


def at(line, file="m.yaml"):
    return Source(file=file, line=line, column=3)


def told(findings):
    return [str(problem) for problem in findings.told()]


def test_the_same_problem_of_one_group_is_told_once_with_a_count():
    findings = Findings()
    for _ in range(10_000):
        findings.add("Too long.", at(4), group=0)
    assert told(findings) == ["m.yaml:4:3: Too long. (And 9,999 more items.)"]


def test_other_lines_are_named_as_far_as_there_is_room():
    findings = Findings()
    for line in [2, 5, 5, 9]:
        findings.add("Bad.", at(line, "t.csv"), group=0)
    findings.add("Good.", at(1), group=0)
    findings.add("Good.", at(2), group=0)
    for line in range(20):
        findings.add("Worse.", at(line + 1), group=0)
    assert told(findings) == [
        "t.csv:2:3: Bad. (And 3 more items: lines 5, 9 and more.)",
        "m.yaml:1:3: Good. (And 1 more item: line 2.)",
        "m.yaml:1:3: Worse. (And 19 more items: lines 2, 3, 4, 5, 6 and more.)",
    ]


def test_groups_places_and_severities_keep_problems_apart():
    findings = Findings()
    findings.add("Bad.", at(1), group=0)
    findings.add("Bad.", at(1), group=1)
    findings.add("Bad.", at(1))
    findings.add("Bad.", at(2))
    findings.add("Bad.", at(1), severity=Severity.WARNING)
    assert len(findings.told()) == 5


def test_once_is_once_without_a_count():
    findings = Findings()
    for line in range(5):
        findings.add("An unknown model.", at(line + 1), severity=Severity.WARNING, group="veo", once=True)
    assert told(findings) == ["m.yaml:1:3: warning: An unknown model."]
    assert not findings.has_errors


def test_a_flood_is_counted():
    findings = Findings()
    for line in range(MOST_PROBLEMS + 5000):
        findings.add(f"Row {line}.", at(line + 1))
    assert len(findings.told()) == MOST_PROBLEMS + 1
    assert told(findings)[-1] == "And 5,000 more errors like these."
    assert findings.has_errors


def test_a_flood_of_warnings_hides_no_error():
    findings = Findings()
    for line in range(MOST_PROBLEMS + 1):
        findings.add(f"Row {line}.", at(line + 1), severity=Severity.WARNING)
    assert not findings.has_errors
    findings.add("Bad.", at(1))
    assert "m.yaml:1:3: Bad." in told(findings)
