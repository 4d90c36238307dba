//! How many times slower than usual this machine is, so that bounds which end a hang fit it.
//!
//! Two things make it slow. The machine itself (an emulated one is about ten times as slow) is measured once in each run
//! of the tests. What else runs on it changes all the time, so the load is looked at whenever somebody asks.

use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, OpenOptions},
    io::{Read, Seek, Write},
    path::Path,
    process::{Command, Stdio},
    sync::LazyLock,
    time::{Duration, Instant},
};

/// The most that is ever waited, in times of the usual.
const CEILING: f64 = 10.0;

/// A fixed piece of work: some arithmetic, and 20 programs that start and end.
const WORK: &str =
    "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; i=0; while [ $i -lt 20 ]; do /bin/true; i=$((i+1)); done";

/// What it takes on a usual machine (2.5 GHz or so) with dash as /bin/sh.
const USUAL_TIME: Duration = Duration::from_millis(40);

/// How often the work is done: the quickest counts, because only that says what the machine can do.
const SAMPLES: usize = 5;

/// From 1 (as quick as usual, or quicker) to 10. `SANDSHELL_TEST_SLOWNESS=3` says it instead of a measurement.
pub fn slowness() -> f64 {
    static SAID: LazyLock<Option<f64>> =
        LazyLock::new(|| std::env::var("SANDSHELL_TEST_SLOWNESS").ok().map(|text| parse(&text)));
    static MACHINE: LazyLock<f64> = LazyLock::new(of_this_machine);
    let times = SAID.unwrap_or_else(|| *MACHINE * load());
    times.clamp(1.0, CEILING)
}

/// A bound for a usual machine, as it is for this one now.
pub fn scaled(bound: Duration) -> Duration {
    bound.mul_f64(slowness())
}

fn parse(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("SANDSHELL_TEST_SLOWNESS should be a number such as 3, and is {text:?}"))
}

/// How many processes want each processor: what runs gets so much less of it.
fn load() -> f64 {
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
    load_of(&fs::read_to_string("/proc/loadavg").unwrap_or_default(), processors)
}

/// From the text of `/proc/loadavg`: the average of a minute, or, when that has not caught up yet, what wants to run now.
fn load_of(text: &str, processors: usize) -> f64 {
    let mut words = text.split_whitespace();
    let minute: f64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
    let now: f64 = words.nth(2).and_then(|word| word.split('/').next()?.parse().ok()).unwrap_or(0.0);
    (minute.max(now) / processors as f64).max(1.0)
}

/// With `cargo nextest` each test is a process of its own: the first one measures, the others read what it found.
fn of_this_machine() -> f64 {
    let Ok(run) = std::env::var("NEXTEST_RUN_ID") else { return measure() };
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let open = || {
        fs::create_dir_all(dir)?;
        OpenOptions::new().create(true).truncate(false).read(true).write(true).open(dir.join("slowness"))
    };
    let mut file = open().expect("a file in the target directory");
    flock(&file, FlockOperation::LockExclusive).expect("the lock of the measurement");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("what was measured before");
    if let Some((of, value)) = text.split_once(' ')
        && of == run
        && let Ok(value) = value.parse()
    {
        return value;
    }
    let measured = measure();
    file.rewind().and_then(|()| file.set_len(0)).expect("an empty file");
    write!(file, "{run} {measured}").expect("a note for the other tests");
    measured
}

fn measure() -> f64 {
    let once = || {
        let began = Instant::now();
        let ended = Command::new("/bin/sh").args(["-c", WORK]).stdin(Stdio::null()).status().expect("/bin/sh");
        assert!(ended.success(), "{ended}");
        began.elapsed()
    };
    let quickest = (0..SAMPLES).map(|_| once()).min().unwrap_or_default();
    quickest.as_secs_f64() / USUAL_TIME.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_never_below_one_nor_above_the_ceiling() {
        assert!((1.0..=CEILING).contains(&slowness()), "{}", slowness());
        assert!(scaled(Duration::from_secs(1)) >= Duration::from_secs(1));
    }

    #[test]
    fn the_load_is_shared_by_the_processors() {
        assert_eq!(load_of("8.00 1.00 1.00 3/200 4711", 2), 4.0);
        assert_eq!(load_of("0.10 1.00 1.00 12/200 4711", 2), 6.0, "the average lags behind");
        assert_eq!(load_of("0.10 1.00 1.00 1/200 4711", 2), 1.0, "an idle machine is not quicker than usual");
        assert_eq!(load_of("", 2), 1.0);
    }

    #[test]
    fn the_work_takes_time() {
        let measured = measure();
        assert!((0.01..1000.0).contains(&measured), "{measured} times the usual");
    }
}
