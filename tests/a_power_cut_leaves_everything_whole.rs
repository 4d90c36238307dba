//! A virtual machine that is switched off while sandboxes are made, filled and deleted: when it is on again, the database and the pool
//! are whole, each volume that was told of is there, and the server begins as if nothing had been.
//!
//! `SANDSHELL_TEST_POWER_CUTS=10` cuts it as often.

use crate::kit::{
    Dice,
    vm::{Machine, make_disk},
};

#[test]
fn database_and_pool_of_a_virtual_machine_are_whole() {
    let mut dice = Dice::new();
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk.img");
    make_disk(&disk);
    let asked = std::env::var("SANDSHELL_TEST_POWER_CUTS").ok().and_then(|text| text.parse().ok());
    let mut volumes = Vec::new();
    for cut in 0..asked.unwrap_or(1) {
        // Each boot looks at what the one before has left, and goes on to work.
        let mut machine = Machine::boot(&disk, "power=work");
        let (made, pause) = (3 + dice.below(6), dice.below(2000));
        let mut seen = 0;
        while seen < made {
            match machine.line() {
                Ok(line) if line.starts_with("vm: made ") => seen += 1,
                Ok(line) if line.starts_with("vm: volume ") => volumes.push(line.replace("volume", "listed")),
                Ok(line) => {
                    assert!(!line.starts_with("vm: broken"), "cut {cut}: {line}\n{}", machine.cut("broken").join("\n"))
                }
                Err(why) => panic!("cut {cut}: no sandboxes are made: {why}\n{}", machine.cut(&why).join("\n")),
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(pause));
        // What it has said in the last moments counts too.
        let last = machine.cut("its power was cut");
        volumes.extend(
            last.iter().filter(|line| line.starts_with("vm: volume ")).map(|line| line.replace("volume", "listed")),
        );
    }
    let console = Machine::boot(&disk, "power=look").until_off();
    let console = console.join("\n");
    assert!(!volumes.is_empty());
    for line in volumes {
        assert!(console.contains(&line), "not {line:?}:\n{console}");
    }
    for line in ["vm: database ok", "vm: works", "vm: pool whole", "vm: ended 0"] {
        assert!(console.contains(line), "not {line:?}:\n{console}");
    }
}
