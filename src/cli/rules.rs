//! `conniver rules`: the kernel's rules that divert connections to the proxy, as a shell script.

use std::fmt::{self, Write};
use std::num::NonZeroU32;
use std::str::FromStr;

use clap::{Args, Subcommand};

use super::exit::{self, Failure};
use super::{usage, values};

/// The mark by which routing leads what TPROXY is to divert to this machine itself, and the routing
/// table that does it: the letters "cn".
const DIVERTED: u32 = 0x636e;

#[derive(Debug, Args)]
pub(crate) struct RulesArgs {
    #[command(subcommand)]
    by: By,
}

#[derive(Debug, Subcommand)]
enum By {
    /// Print REDIRECT rules, for conniver proxy --redirect: connections are translated (NAT), and
    /// the proxy needs no privileges except for --mark
    Redirect(Diversion),
    /// Print TPROXY rules, for conniver proxy --tproxy: connections keep their addresses, and the
    /// proxy needs CAP_NET_ADMIN
    Tproxy(Diversion),
}

/// Which connections go where.
#[derive(Debug, Args)]
struct Diversion {
    /// Port that the proxy listens on
    #[arg(long, value_name = "PORT", value_parser = values::number(1..=u16::MAX, 15_001))]
    port: u16,

    /// Divert only connections to these ports: 80,443,8000-8099
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    ports: Vec<Ports>,

    /// Do not divert connections with this firewall mark; run the proxy with the same --mark
    #[arg(long, value_name = "N", value_parser = values::mark)]
    mark: Option<NonZeroU32>,

    /// Do not divert connections of this user; run the proxy as this user
    #[arg(long, value_name = "USER", conflicts_with = "on")]
    not_user: Option<Word>,

    /// Divert connections to other machines that arrive on this interface, instead of those of
    /// local programs; repeatable
    #[arg(long, value_name = "INTERFACE")]
    on: Vec<Word>,
}

/// A port, or the first and the last of several.
#[derive(Debug, Clone, Copy)]
struct Ports(u16, u16);

impl FromStr for Ports {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.parse(), last.parse()) {
            (Ok(first @ 1..), Ok(last)) if first <= last => Ok(Self(first, last)),
            _ => Err("expected a port or a range of ports, such as 443 or 8000-8099"),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(first, last) = self;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

/// The name of a user or an interface, which means nothing else to a shell or to nft.
#[derive(Debug, Clone)]
struct Word(String);

impl FromStr for Word {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "_.:@-".contains(c);
        match !text.is_empty() && !text.starts_with('-') && text.chars().all(fits) {
            true => Ok(Self(text.to_owned())),
            false if text.contains(',') => {
                Err("expected one name; for several interfaces, repeat the option")
            }
            false => {
                Err("expected a name of letters, digits and the characters _ . : @ -, such as \
                     eth0 or conniver")
            }
        }
    }
}

pub(crate) fn run(args: RulesArgs) -> Result<(), Failure> {
    let script = match args.by {
        By::Redirect(diversion) => diversion.checked("redirect").redirect(),
        By::Tproxy(diversion) => diversion.checked("tproxy").tproxy(),
    };
    exit::print(script.trim_end())
}

impl Diversion {
    /// Ends the program where the rules would divert the proxy's own connections, or could not tell
    /// them from diverted ones.
    fn checked(self, by: &str) -> Self {
        if self.on.is_empty() && self.mark.is_none() && self.not_user.is_none() {
            usage::wrong_usage(
                &["rules", by],
                "the rules would divert the proxy's own connections back to it: exclude them with \
                 --mark N (and run the proxy with the same --mark), or with --not-user USER",
            );
        }
        if self.mark.is_some_and(|mark| mark.get() == DIVERTED) {
            let sentence = format!(
                "--mark {DIVERTED:#x} is reserved for the rules themselves; choose another mark"
            );
            usage::wrong_usage(&["rules", by], &sentence);
        }
        self
    }

    fn redirect(&self) -> String {
        let (hook, here) = match self.on.is_empty() {
            true => ("output", "127.0.0.1:{port} --redirect '[::1]:{port}'"),
            // REDIRECT sends them to the interface's own address.
            false => ("prerouting", "'*:{port}'"),
        };
        let port = self.port;
        let here = format!("--redirect {}", here.replace("{port}", &port.to_string()));
        let mut script = self.head("REDIRECT", &here, "nft delete table inet conniver_redirect");
        let (which, what) = (self.which("        "), self.what());
        // Lines that nft reads; the same script may be run again.
        let _ = write!(
            script,
            "nft -f - <<'END'
add table inet conniver_redirect
delete table inet conniver_redirect
table inet conniver_redirect {{
    chain {hook} {{
        type nat hook {hook} priority -100; policy accept;
{which}        {what} redirect to :{port}
    }}
}}
END
"
        );
        script
    }

    fn tproxy(&self) -> String {
        let port = self.port;
        let here = format!("--tproxy 127.0.0.1:{port} --tproxy '[::1]:{port}'");
        let undo = format!(
            "nft delete table inet conniver_tproxy; \
             for family in -4 -6; do ip $family rule del fwmark {DIVERTED:#x} lookup {DIVERTED}; \
             ip $family route flush table {DIVERTED}; done"
        );
        let mut script = self.head("TPROXY", &here, &undo);
        let (which, what) = (self.which("        "), self.what());
        let begin = "tcp flags & (fin | syn | rst | ack) == syn jump begin";
        let is_diverted = format!("ct mark {DIVERTED:#x} ct direction original");
        let to_lo = match self.on.is_empty() {
            true => format!(
                "    chain output {{
        type route hook output priority -150; policy accept;
        {begin}
        {is_diverted} meta mark set {DIVERTED:#x}
    }}
"
            ),
            false => String::new(),
        };
        let begin_here = match self.on.is_empty() {
            true => String::new(),
            false => format!("        {begin}\n"),
        };
        let _ = write!(
            script,
            "for family in -4 -6; do
    [ $family = -4 ] || [ -e /proc/net/if_inet6 ] || continue
    ip $family rule del fwmark {DIVERTED:#x} lookup {DIVERTED} 2>/dev/null || :
    ip $family rule add fwmark {DIVERTED:#x} lookup {DIVERTED}
    ip $family route replace local default dev lo table {DIVERTED}
done
nft -f - <<'END'
add table inet conniver_tproxy
delete table inet conniver_tproxy
table inet conniver_tproxy {{
    chain begin {{
{which}        {what} ct mark set {DIVERTED:#x}
    }}
{to_lo}    chain prerouting {{
        type filter hook prerouting priority -150; policy accept;
{begin_here}        {is_diverted} meta mark set {DIVERTED:#x} jump divert
    }}
    chain divert {{
        meta nfproto ipv4 meta l4proto tcp tproxy ip to 127.0.0.1:{port} accept
        meta nfproto ipv6 meta l4proto tcp tproxy ip6 to [::1]:{port} accept
    }}
}}
END
"
        );
        script
    }

    /// What the script is for, the proxy that it needs, and how to be rid of it.
    fn head(&self, by: &str, listeners: &str, undo: &str) -> String {
        let mark = self.mark.map(|mark| format!(" --mark {mark}")).unwrap_or_default();
        let whose = match self.on.is_empty() {
            true => "connections of local programs to other machines",
            false => "connections that this machine forwards",
        };
        format!(
            "#!/bin/sh
# Diverts {whose} with {by} to
#   conniver proxy {listeners}{mark}
# Review it, then run it as root. To undo it:
#   {undo}
set -e
"
        )
    }

    /// Lines of a chain that let what is not to be diverted return.
    fn which(&self, indent: &str) -> String {
        let mut lines = String::new();
        let mut line = |text: String| lines.extend([indent, &text, "\n"]);
        if !self.on.is_empty() {
            let names: Vec<_> = self.on.iter().map(|Word(name)| format!("\"{name}\"")).collect();
            line(format!("iifname != {{ {} }} return", names.join(", ")));
        }
        if let Some(mark) = self.mark {
            line(format!("meta mark {mark:#x} return"));
        }
        if let Some(Word(user)) = &self.not_user {
            line(format!("meta skuid {user} return"));
        }
        line("fib daddr type local return".to_owned());
        // To dial one takes its interface too.
        line("ip6 daddr fe80::/10 return".to_owned());
        lines
    }

    /// The match on the ports.
    fn what(&self) -> String {
        if self.ports.is_empty() {
            return "meta l4proto tcp".to_owned();
        }
        let ports: Vec<_> = self.ports.iter().map(Ports::to_string).collect();
        format!("tcp dport {{ {} }}", ports.join(", "))
    }
}
