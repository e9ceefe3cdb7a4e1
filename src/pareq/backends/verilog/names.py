"""Words that no signal may be called."""

import re

__all__ = ["KEYWORDS"]

# Verilog-2001 and SystemVerilog, where it can be mistaken for the name of a value
KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """always assign automatic begin bind bit buf byte case casex casez cell chandle checker
    class
    clocking config const cover deassign default defparam design disable do dist edge else end
    endcase endclass endconfig endfunction endmodule endtask endtable enum event expect export
    extends extern final first_match for force forever fork function generate genvar highz0 highz1
    if iff ifnone import incdir include initial inout input inside instance int integer interface
    intersect join large let liblist library local localparam logic longint macromodule matches
    medium modport module nand negedge new nmos none nor noshowcancelled not notif0 notif1 null or
    output package packed parameter pmos posedge primitive priority program property protected pull0
    pull1 pulldown pullup pure rand randc randcase real realtime ref reg release repeat return rnmos
    rpmos rtran scalared sequence shortint shortreal showcancelled signed small solve specify static
    string strong strong0 strong1 struct super supply0 supply1 table tagged task this throughout
    time timeprecision timeunit tran tri tri0 tri1 triand trior trireg type typedef union unique
    unsigned use var vectored virtual void wait wand weak weak0 weak1 while wire with within wor
    xnor xor clk""",
    )
)
