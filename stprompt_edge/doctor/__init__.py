"""What this machine has, what it lacks, and what to type about it: `stprompt-edge doctor`.

Nothing is taken on trust where it can be tried: an execution provider is ok when it has computed a known answer, a
video encoder when it has encoded. What may hang or crash natively runs in a child process with a time limit.
"""

from stprompt_edge.doctor.examination import examine
from stprompt_edge.doctor.report import Check, Report, render

__all__ = ["Check", "Report", "examine", "render"]
