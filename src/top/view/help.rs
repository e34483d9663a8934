//! The keys, and what the columns mean.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::{Scene, put};

const TEXT: &str = "\
q, Ctrl-C       quit
j k, arrows     select; PgUp PgDn Home End
Enter           details of the selected connection
Esc             back; clear selection, then filter
s, r            next order; reverse it
/               filter by program, target, address, state
p, Space        pause the screen; reading goes on

waiting for     server: the upstream has a request
                network: sent, not acknowledged
                client: it accepts no more data
                data: bytes are moving
                quiet: none move, who is to blame is unknown
                idle: nobody is waited for
retr            segments retransmitted, both sides
RTT             round-trip time to the upstream or peer

sockets of a machine, without a proxy
arrow           from the side that has connected
lost            segments lost so far
activity        data moves, or for how long none has";

pub(super) fn draw(scene: &Scene<'_>, area: Rect, buffer: &mut Buffer) {
    for (text, line) in TEXT.lines().zip(area.rows()) {
        put(buffer, line, &scene.theme.text(text), Style::new());
    }
}
