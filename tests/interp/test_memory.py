"""What the settings in `interp/__init__.py` are for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

CAPACITIES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
SCRIPT = """
from pathlib import Path
import interp
import torch

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmRSS:"))

weight, rows = torch.randn(256, 128).bfloat16(), torch.randn(512, 128).bfloat16()
torch.nn.functional.linear(rows, weight)
before = resident()
for n_rows in range(100, 400):
    torch.nn.functional.linear(rows[:n_rows], weight)
print(resident() - before)
"""


def grown(**capacities: str) -> float:
    """MB that 300 products of different numbers of rows leave behind in a new process."""
    variables = {name: value for name, value in os.environ.items() if name not in CAPACITIES}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=variables | capacities,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


@pytest.mark.skipif(
    not Path("/proc/self/status").exists() or not torch.ops.mkldnn._is_mkldnn_bf16_supported(),
    reason="needs Linux and a processor that oneDNN multiplies bfloat16 on",
)
def test_rows_of_many_lengths_keep_little_memory_unless_the_user_wants_more():
    assert grown() < 0.6 * grown(**dict.fromkeys(CAPACITIES, "1024"))
