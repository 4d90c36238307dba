//! Filters of system calls that find what they say of a call by its number in a few steps.
//!
//! The kernel asks a filter about every number there is when it is installed, and translates it to machine code, so a list
//! that is searched from its start costs each new sandbox about a millisecond. This one is a search tree over ranges of
//! numbers; what a call's arguments decide is left to a program of its own.

use seccompiler::{BpfProgram, sock_filter};
use std::{collections::BTreeMap, io};

pub const LOAD: u16 = 0x20;
pub const AND: u16 = 0x54;
pub const JUMP: u16 = 0x05;
pub const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_NOT_LESS: u16 = 0x35;
pub const RETURN: u16 = 0x06;

pub const ALLOW: u32 = 0x7fff_0000;
/// To be combined with an error number.
pub const REFUSE: u32 = 0x0005_0000;
/// Ends the process.
pub const KILL: u32 = 0x8000_0000;

/// Where the kernel puts the number of the call, and the architecture that it is made for.
pub const NUMBER: u32 = 0;
pub const ARCHITECTURE: u32 = 4;

/// What is said of a call.
#[derive(Clone)]
pub enum Answer {
    /// Always the same.
    Return(u32),
    /// This program decides. It must end with a return on each of its ways.
    Look(BpfProgram),
}

pub fn step(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

/// Why there is no such filter: a jump in it would be longer than the kernel's filters can express.
#[derive(Debug, thiserror::Error)]
#[error("a filter of system calls has too many ranges of numbers")]
pub struct TooManyRanges;

/// A program that looks at the number of a call, which must have been loaded. `otherwise` is said of numbers without an answer.
pub fn by_number(answers: BTreeMap<u32, Answer>, otherwise: u32) -> Result<BpfProgram, TooManyRanges> {
    let mut bodies = Vec::new();
    let ranges = ranges(answers, otherwise, &mut bodies);
    let mut program = tree(&ranges)?;
    let mut starts = Vec::new();
    for body in bodies {
        starts.push(program.len());
        program.extend(body);
    }
    for (at, step) in program.iter_mut().enumerate().take(starts.first().copied().unwrap_or_default()) {
        if step.code == JUMP {
            step.k = (starts[step.k as usize] - at - 1) as u32;
        }
    }
    Ok(program)
}

/// What the tree does with a range of numbers.
#[derive(Clone, Copy, PartialEq)]
enum Leaf {
    Return(u32),
    /// Goes on in the body of this index.
    Body(usize),
}

/// Each range by its first number; it reaches up to the next one.
fn ranges(answers: BTreeMap<u32, Answer>, otherwise: u32, bodies: &mut Vec<BpfProgram>) -> Vec<(u32, Leaf)> {
    let mut ranges: Vec<(u32, Leaf)> = Vec::new();
    let mut next = Some(0);
    let mut add = |first: u32, leaf: Leaf| {
        if ranges.last().is_none_or(|(_, last)| *last != leaf) {
            ranges.push((first, leaf));
        }
    };
    for (number, answer) in answers {
        if let Some(next) = next.filter(|next| *next < number) {
            add(next, Leaf::Return(otherwise));
        }
        let leaf = match answer {
            Answer::Return(value) => Leaf::Return(value),
            Answer::Look(body) => {
                bodies.push(body);
                Leaf::Body(bodies.len() - 1)
            }
        };
        add(number, leaf);
        next = number.checked_add(1);
    }
    if let Some(next) = next {
        add(next, Leaf::Return(otherwise));
    }
    ranges
}

/// A jump to a body has the index of the body in place of its length.
fn tree(ranges: &[(u32, Leaf)]) -> Result<BpfProgram, TooManyRanges> {
    if let [(_, leaf)] = ranges {
        return Ok(vec![match leaf {
            Leaf::Return(value) => step(RETURN, *value),
            Leaf::Body(index) => step(JUMP, *index as u32),
        }]);
    }
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let lower = tree(lower)?;
    let over = u8::try_from(lower.len()).map_err(|_| TooManyRanges)?;
    let mut program = vec![sock_filter { code: JUMP_IF_NOT_LESS, jt: over, jf: 0, k: upper[0].0 }];
    program.extend(lower);
    program.extend(tree(upper)?);
    Ok(program)
}

/// Binds the calling process and all that it starts. Allocates nothing when it succeeds.
pub fn apply(program: &BpfProgram) -> io::Result<()> {
    seccompiler::apply_filter(program).map_err(|error| match error {
        seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error,
        other => io::Error::other(other.to_string()),
    })
}

/// What the kernel would do with a call: for the tests of those who make filters.
pub fn decide(program: &BpfProgram, architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let load = |offset: u32| match offset {
        NUMBER => number,
        ARCHITECTURE => architecture,
        _ => {
            let argument = arguments[(offset as usize - 16) / 8];
            if offset.is_multiple_of(8) { argument as u32 } else { (argument >> 32) as u32 }
        }
    };
    let (mut at, mut value) = (0, 0);
    loop {
        let step = &program[at];
        at += 1;
        let mut go = |condition: bool| at += usize::from(if condition { step.jt } else { step.jf });
        match step.code {
            LOAD => value = load(step.k),
            AND => value &= step.k,
            JUMP_IF_EQUAL => go(value == step.k),
            JUMP_IF_NOT_LESS => go(value >= step.k),
            0x25 => go(value > step.k),
            JUMP => at += step.k as usize,
            RETURN => return step.k,
            // The kernel installs no filter with any other step that is not made here.
            _ => return KILL,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_number_gets_its_answer(answers in prop::collection::btree_map(0_u32..80, 0_u32..4, 0..60)) {
            let look = |value: u32| vec![step(LOAD, 16), sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k: 5 },
                step(RETURN, value), step(RETURN, value + 100)];
            let filter = answers.iter().map(|(number, value)| {
                (*number, if *value < 2 { Answer::Return(*value) } else { Answer::Look(look(*value)) })
            });
            let mut program = vec![step(LOAD, NUMBER)];
            program.extend(by_number(filter.collect(), 7).unwrap());
            for number in (0..100).chain([0x4000_0001, u32::MAX]) {
                for argument in [5, 6] {
                    let expected = match answers.get(&number) {
                        None => 7,
                        Some(value) if *value < 2 || argument == 5 => *value,
                        Some(value) => value + 100,
                    };
                    prop_assert_eq!(decide(&program, 0, number, [argument, 0, 0, 0, 0, 0]), expected);
                }
            }
        }
    }

    #[test]
    fn the_last_number_may_have_an_answer() {
        let mut program = vec![step(LOAD, NUMBER)];
        program.extend(by_number([(u32::MAX, Answer::Return(1))].into(), 0).unwrap());
        assert_eq!((decide(&program, 0, u32::MAX, [0; 6]), decide(&program, 0, u32::MAX - 1, [0; 6])), (1, 0));
    }
}
