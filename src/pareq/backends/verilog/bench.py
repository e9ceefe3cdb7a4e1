"""The test bench of a design, and the constraints and script for the vendor's tool."""

from collections.abc import Sequence

from pareq.backends.verilog.ports import Port, Ports

__all__ = ["bench", "constraints", "script"]

_BENCH = """\
`timescale 1ns / 1ps
// Streams the rows of NAME_x.hex through NAME, one a clock, and writes what comes out into
// NAME_found.hex. Where NAME_y.hex is there, each row is compared with it.
// With Icarus Verilog:
// $ iverilog -g2001 -o NAME.vvp NAME_tb.v NAME.v && vvp -n NAME.vvp
// With Verilator 5:
// $ verilator --binary --timing --top-module NAME_tb NAME_tb.v NAME.v && obj_dir/VNAME_tb
/* verilator lint_off UNUSED */
/* verilator lint_off BLKSEQ */

module NAME_tb;
    localparam LATENCY = CYCLES;
    localparam WAIT = LATENCY > 0 ? LATENCY - 1 : 0;

    reg clk;
DECLARED
    integer given, wanted, made, cycle, rows, seen, wrong, more, read;

    NAME device (
PORTS
    );

    initial begin
        clk = 1'b0;
        cycle = 0;
        rows = 0;
        seen = 0;
        wrong = 0;
        more = 1;
        given = $fopen("NAME_x.hex", "r");
        wanted = $fopen("NAME_y.hex", "r");
        made = $fopen("NAME_found.hex", "w");
        if (given == 0) begin
            $display("NAME_x.hex cannot be read");
            more = 0;
        end
        while (more != 0 || seen < rows) begin
            if (more != 0) begin
                read = $fscanf(given, GIVEN);
                more = {31'd0, read == INPUTS};
                if (more != 0) rows = rows + 1;
APPLIED
            end
            #HALF clk = 1'b1;
            #HALF;
            if (cycle >= WAIT && seen < rows) begin
                $fwrite(made, FOUND);
                if (wanted != 0) begin
                    read = $fscanf(wanted, WANTED);
                    if (DIFFERENT) begin
                        if (wrong == 0) $display("row %0d: FOUND, expected EXPECTED", seen, BOTH);
                        wrong = wrong + 1;
                    end
                end
                seen = seen + 1;
            end
            clk = 1'b0;
            cycle = cycle + 1;
        end
        $fclose(made);
        if (wanted != 0) begin
            if (wrong == 0) $display("%0d rows, no difference", seen);
            else $display("%0d of %0d rows differ", wrong, seen);
        end
        $finish;
    end
endmodule
"""


def bench(name: str, buses: Ports, latency: int, period: float) -> str:
    """The text of NAME_tb.v. period: of the clock in nanoseconds."""
    inputs, outputs = buses.inputs, buses.outputs
    # what $fscanf writes directly Verilator 5.006 does not see as a change
    declared = [
        f"    reg [{port.bits - 1}:0] {port.name}{end};" for port in inputs for end in ("", "_read")
    ]
    declared += [
        f"    {kind} [{port.bits - 1}:0] {port.name}{end};"
        for port in outputs
        for kind, end in (("wire", ""), ("reg", "_wanted"))
    ]
    connected = [".clk(clk)", *(f".{port.name}({port.name})" for port in (*inputs, *outputs))]
    parts = {
        "DECLARED": "\n".join(declared),
        "PORTS": ",\n".join(f"        {each}" for each in connected),
        "GIVEN": f'"{_hex(inputs)}", {_names(inputs, "_read")}',
        "APPLIED": "\n".join(f"{' ' * 16}{port.name} = {port.name}_read;" for port in inputs),
        "INPUTS": str(len(inputs)),
        '"row %0d: FOUND, expected EXPECTED"': (
            f'"row %0d: {_hex(outputs)}, expected {_hex(outputs)}"'
        ),
        "FOUND": f'"{_hex(outputs)}\\n", {_names(outputs)}',
        "WANTED": f'"{_hex(outputs)}", {_names(outputs, "_wanted")}',
        "DIFFERENT": " || ".join(f"{port.name} !== {port.name}_wanted" for port in outputs),
        "BOTH": f"{_names(outputs)}, {_names(outputs, '_wanted')}",
        "CYCLES": str(latency),
        "HALF": f"{period / 2:.3f}",
        "NAME": name,
    }
    text = _BENCH
    for word, part in parts.items():
        text = text.replace(word, part)
    return text


def constraints(name: str, period: float) -> str:
    """The text of NAME.xdc."""
    return (
        f"# {name}: the clock; inputs and outputs are registers of the surrounding design.\n"
        f"create_clock -name clk -period {period:.3f} [get_ports clk]\n"
    )


def script(name: str, part: str) -> str:
    """The text of NAME_vivado.tcl: synthesis and routing without pins, and reports of them."""
    return f"""\
# {name}: out of context, so without pins, in Vivado. Run in this folder:
#   vivado -mode batch -source {name}_vivado.tcl
# Written with the design; its figures are known once it is run.
read_verilog {name}.v
read_xdc {name}.xdc
synth_design -top {name} -part {part} -mode out_of_context -flatten_hierarchy full
opt_design
place_design
phys_opt_design
route_design
report_utilization -file {name}_utilization.rpt
report_timing_summary -file {name}_timing.rpt
"""


def _hex(ports: Sequence[Port]) -> str:
    return " ".join("%h" for _ in ports)


def _names(ports: Sequence[Port], end: str = "") -> str:
    return ", ".join(f"{port.name}{end}" for port in ports)
