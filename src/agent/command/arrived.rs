//! What has come of a command's input, so that what is sent again is known.

/// What has come of a command's input.
#[derive(Default)]
pub(super) struct Arrived {
    bytes: u64,
    ended: bool,
}

impl Arrived {
    /// How many of `length` bytes have come before; `None` when all have. Without a place none has.
    pub(super) fn fresh(&self, length: usize, at: Option<u64>) -> Result<Option<usize>, Missing> {
        let Some(at) = at else { return Ok(Some(0)) };
        let known = self.bytes.checked_sub(at).ok_or(Missing { at, taken: self.bytes })?;
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        Ok((known < length || length == 0).then_some(known))
    }

    /// So many bytes have come that are new.
    pub(super) fn came(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// The end has come. Whether it had come before.
    pub(super) fn end(&mut self) -> bool {
        std::mem::replace(&mut self.ended, true)
    }

    /// How many bytes have come.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Input was sent whose place is behind the end of what has come.
#[derive(Debug, thiserror::Error)]
#[error("is {at}, and only {taken} bytes of input have come: send those between first")]
pub(in crate::agent) struct Missing {
    at: u64,
    taken: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_with_a_place_is_new_from_where_the_rest_ends() {
        let arrived = Arrived { bytes: 10, ended: false };
        let fresh = |length, at| arrived.fresh(length, at).ok().flatten();
        assert_eq!(
            [fresh(5, None), fresh(5, Some(10)), fresh(5, Some(7)), fresh(5, Some(5)), fresh(5, Some(0))],
            [Some(0), Some(0), Some(3), None, None]
        );
        assert!(arrived.fresh(5, Some(11)).is_err());
    }
}
