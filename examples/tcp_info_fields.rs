//! Lists the fields of Linux's `struct tcp_info` that the library knows, each with its offset;
//! `scripts/check-btf` compares it with the running kernel.

use conniver::tcp_info::LinuxInfo;

fn main() {
    for field in LinuxInfo::FIELDS {
        println!("{} {}", field.kernel, field.offset);
    }
}
