//! The CPU time of another process, as Linux accounts it.

use std::time::Duration;

/// User and system time that a process has used so far, with a resolution of 10 ms. None when there is no such process.
#[must_use]
pub fn of(pid: u32) -> Option<Duration> {
    // proc_pid_stat(5): fields 14 and 15 in clock ticks of 1/100 s, counted after the command's closing parenthesis.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 10))
}
