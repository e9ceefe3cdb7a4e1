"""Published designs for the jets of 16 features, as their sources report them.

None was measured here. Two data sets go by one name and differ by about a point of accuracy: that
of OpenML (42468, about 830,000 jets) and that of CERNBox (986,806 jets). Counts are those of the
vendor's tool (Vivado), whose version most sources leave out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["PUBLISHED", "SOURCES", "Published"]


@dataclass(frozen=True)
class Published:
    """One design. accuracy: percent; latency: nanoseconds; source: a key of SOURCES."""

    method: str
    accuracy: float
    luts: int
    flip_flops: int | None
    latency: float | None
    source: str
    dsps: int = 0


SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "KANELE": "KANELE, arXiv 2512.12850, table 3",
        "FINNAS": "FINNAS, table II",
        "NLA": "NeuraLUT-Assemble, arXiv 2504.00592, table IV, as transcribed",
        "MK": "Mecik and Kumm, arXiv 2512.15251, as transcribed",
        "FPGN": "FPGN, arXiv 2607.08427, as transcribed",
        "HGQ-LUT": "HGQ-LUT, arXiv 2604.22293, as transcribed",
        "TreeLUT": "TreeLUT, arXiv 2501.01511, table 5, as transcribed",
        "AmigoLUT": "AmigoLUT, FPGA 2025, table 4, as transcribed",
    }
)

PUBLISHED: Mapping[str, tuple[Published, ...]] = MappingProxyType(
    {
        "OpenML": (
            Published("hls4ml (Fahim et al. 2021)", 76.2, 63_251, 4_394, 45, "KANELE", 38),
            Published("HGQ, adder graphs", 76.9, 10_182, 10_480, 36.3, "HGQ-LUT"),
            Published("da4ml (network of HGQ)", 76.9, 12_250, 1_502, 18.9, "KANELE"),
            Published("HGQ-LUT", 76.9, 5_667, 2_434, 9.2, "HGQ-LUT"),
            Published("DWN, 2,400 tables, core alone", 76.3, 4_972, 3_305, 7.3, "KANELE"),
            Published("DWN, 2,400 tables, with encoder", 76.3, 7_011, 961, 2.1, "MK"),
            Published("FPGN", 76.0, 3_345, 1_703, 5.5, "FPGN"),
            Published("NeuraLUT-Assemble", 76.0, 1_780, 540, 2.1, "KANELE"),
            Published("KANELE", 76.0, 1_232, 900, 7.1, "KANELE"),
            Published("TreeLUT I", 75.6, 2_234, 347, 2.7, "KANELE"),
            Published("DWN, 360 tables, with encoder", 75.6, 1_697, 198, 2.6, "MK"),
            Published("TreeLUT II", 74.6, 796, 74, 1.1, "TreeLUT"),
            Published("DWN, 50 tables, with encoder", 74.0, 311, 52, 2.0, "MK"),
        ),
        "CERNBox": (
            Published("HGQ-LUT", 75.4, 6_042, 2_438, 10.1, "HGQ-LUT"),
            Published("HGQ, larger", 75.3, 10_921, 11_183, 31.1, "FINNAS"),
            Published("HGQ, smaller", 75.1, 5_974, 5_775, 24.6, "FINNAS"),
            Published("KANELE", 75.1, 5_034, 1_917, 8.1, "KANELE"),
            Published("PolyLUT", 75.1, 246_071, 12_384, 25, "NLA"),
            Published("FINNAS, architecture A", 75.03, 21_409, None, 71, "FINNAS"),
            Published("NeuraLUT-Assemble", 75.0, 8_539, 1_332, 5.7, "KANELE"),
            Published("PolyLUT-Add", 75.0, 36_484, 1_209, 16, "MK"),
            Published("FPGN", 74.9, 12_358, 4_839, 6.0, "FPGN"),
            Published("AmigoLUT, 32 networks", 74.4, 42_742, 4_717, 9.6, "AmigoLUT"),
            Published("FINNAS, architecture E", 74.36, 6_806, None, 62, "FINNAS"),
            Published("FINN, 70 % pruned", 73.25, 10_102, None, 59, "FINNAS"),
            Published("LogicNets", 72, 37_931, 810, 13, "NLA"),
        ),
    }
)
