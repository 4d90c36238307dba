//! Long output that is known beforehand, checked as it comes, so that no test holds a gigabyte.

/// Adds the next piece of what is expected.
type Maker = Box<dyn FnMut(&mut Vec<u8>) + Send>;

/// Checks bytes against what they should be, without keeping them.
pub struct Expected {
    make: Maker,
    ahead: Vec<u8>,
    at: u64,
}

impl Expected {
    /// What `seq 1 …` prints, without end.
    pub fn seq() -> Self {
        let mut line = b"0\n".to_vec();
        Self::new(move |out| {
            for _ in 0..10_000 {
                next_number(&mut line);
                out.extend_from_slice(&line);
            }
        })
    }

    /// The same bytes again and again, as `yes` prints them.
    pub fn cycle(bytes: &'static [u8]) -> Self {
        Self::new(move |out| {
            for _ in 0..10_000 {
                out.extend_from_slice(bytes);
            }
        })
    }

    fn new(make: impl FnMut(&mut Vec<u8>) + Send + 'static) -> Self {
        Self { make: Box::new(make), ahead: Vec::new(), at: 0 }
    }

    /// Fails unless these are the next bytes.
    pub fn check(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.ahead.is_empty() {
                (self.make)(&mut self.ahead);
            }
            let n = data.len().min(self.ahead.len());
            if data[..n] != self.ahead[..n] {
                let wrong = data.iter().zip(&self.ahead).position(|(a, b)| a != b).unwrap_or(0);
                let around = |bytes: &[u8]| super::show(&bytes[wrong.saturating_sub(20)..(wrong + 20).min(n)]);
                panic!(
                    "byte {} is wrong: {:?} came instead of {:?}",
                    self.at + wrong as u64,
                    around(data),
                    around(&self.ahead)
                );
            }
            self.ahead.drain(..n);
            self.at += n as u64;
            data = &data[n..];
        }
    }

    /// How many bytes came, all of them right.
    pub fn checked(&self) -> u64 {
        self.at
    }
}

/// What `seq 1 last` prints.
pub fn seq(last: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut line = b"0\n".to_vec();
    for _ in 0..last {
        next_number(&mut line);
        out.extend_from_slice(&line);
    }
    out
}

/// How many bytes `seq 1 last` prints.
pub fn seq_bytes(last: u64) -> u64 {
    let mut bytes = 0;
    let (mut from, mut width) = (1, 2);
    while from <= last {
        let to = (from * 10 - 1).min(last);
        bytes += (to - from + 1) * width;
        (from, width) = (from * 10, width + 1);
    }
    bytes
}

/// Counts up a number that is written in digits with a newline.
fn next_number(line: &mut Vec<u8>) {
    for i in (0..line.len() - 1).rev() {
        if line[i] < b'9' {
            line[i] += 1;
            return;
        }
        line[i] = b'0';
    }
    line.insert(0, b'1');
}
