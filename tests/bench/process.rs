//! Runs a program and says what it cost.

use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What a program cost.
#[derive(Debug)]
pub struct Run {
    /// How it ended.
    pub status: ExitStatus,
    /// What it said.
    pub stderr: String,
    /// From its start to its end.
    pub time: Duration,
    /// What all its threads computed, where the system tells (Linux).
    pub cpu: Duration,
    /// The most memory that it ever had, where the system tells.
    pub peak_kib: u64,
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Run {
    let begin = Instant::now();
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the program");
    let mut stderr = child.stderr.take().expect("a pipe");
    let said = std::thread::spawn(move || std::io::read_to_string(&mut stderr).unwrap_or_default());
    let (mut peak_kib, mut cpu) = (0, Duration::ZERO);
    let status = loop {
        peak_kib = high_water_mark(child.id()).unwrap_or_default().max(peak_kib);
        cpu = computed(child.id()).unwrap_or_default().max(cpu);
        match child.try_wait().expect("the program") {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let time = begin.elapsed();
    Run { status, stderr: said.join().unwrap_or_default(), time, cpu, peak_kib }
}

fn high_water_mark(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// User and system time; the kernel counts both in hundredths of a second.
fn computed(process: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis((next()? + next()?) * 10))
}
