//! Stepping over values, checking them whole. This runs before every decode, so most of it is a table.

use super::read::{Mark, Reader, SHORT_STR, STR_MARK, text};
use super::{DEPTH_CEILING, Limits};
use crate::error::{Error, Result};

impl Reader<'_> {
    /// Steps over one value, checking it whole: marks, lengths, UTF-8 and limits.
    pub fn skip(&mut self, limits: &Limits) -> Result<()> {
        let start = self.at;
        let mut elements = limits.elements;
        self.skip_values(1, limits.depth.min(DEPTH_CEILING), &mut elements, limits)?;
        let size = self.at - start;
        if size > limits.payload_bytes {
            return Err(Error::decode(start, format!("the payload has {size} bytes, the limit is {}", limits.payload_bytes)));
        }
        Ok(())
    }

    /// Steps over `count` values; calls itself only for a container.
    ///
    /// Numbers, nil and bools are stepped over by a table and short ASCII by one look, since this runs before every decode.
    fn skip_values(&mut self, count: usize, depth: usize, elements: &mut usize, limits: &Limits) -> Result<()> {
        let mut count = count;
        loop {
            (self.at, count) = step_over(self.bytes, self.at, count);
            if count == 0 {
                return Ok(());
            }
            count -= 1;
            let start = self.at;
            let (len, values) = match self.mark()? {
                Mark::Str(bytes) if bytes.is_ascii() => continue,
                Mark::Str(bytes) => {
                    text(bytes, self.at - bytes.len())?;
                    self.ascii = false;
                    continue;
                }
                Mark::Array(len) => (len, len),
                Mark::Map(len) => (len, 2 * len),
                _ => continue,
            };
            if depth == 0 {
                return Err(Error::decode(start, format!("nested deeper than {} levels", limits.depth.min(DEPTH_CEILING))));
            }
            *elements = elements
                .checked_sub(len)
                .ok_or_else(|| Error::decode(start, format!("more than {} elements", limits.elements)))?;
            self.skip_values(values, depth - 1, elements, limits)?;
        }
    }
}

/// The size of a value, mark included, where the mark alone tells it and holds nothing to count; else 0.
static FIXED_SIZES: [u8; 256] = {
    let mut sizes = [0; 256];
    let mut mark: u8 = 0;
    while mark < 255 {
        sizes[mark as usize] = match mark {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xfe => 1,
            0xa0..=0xbf => mark - 0xa0 + 1,
            0xcc | 0xd0 => 2,
            0xcd | 0xd1 => 3,
            0xca | 0xce | 0xd2 => 5,
            0xcb | 0xcf | 0xd3 => 9,
            _ => 0,
        };
        mark += 1;
    }
    sizes[255] = 1; // -1
    sizes
};

/// Steps over values as long as their size is in the table; returns the place and how many values are left to step over.
#[inline]
fn step_over(bytes: &[u8], at: usize, count: usize) -> (usize, usize) {
    let (mut rest, mut count) = (&bytes[at..], count);
    while let Some(&mark) = rest.first()
        && count > 0
    {
        let size = usize::from(FIXED_SIZES[usize::from(mark)]);
        if size == 0 || size > rest.len() || mark & STR_MARK == SHORT_STR && !is_ascii(rest, size) {
            break;
        }
        (rest, count) = (&rest[size..], count - 1);
    }
    (bytes.len() - rest.len(), count)
}

/// Whether the short string at the start of `bytes` is ASCII, `size` counting its mark. Eight bytes a step, of which those
/// behind the string do not count.
#[inline]
fn is_ascii(bytes: &[u8], size: usize) -> bool {
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    let mut at = 1;
    while at < size {
        let Some(word) = bytes[at..].first_chunk::<8>() else { return bytes[at..size].is_ascii() };
        let unread = 8 * 8_usize.saturating_sub(size - at);
        if u64::from_le_bytes(*word) & HIGH_BITS >> unread != 0 {
            return false;
        }
        at += 8;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new(&bytes);
            let _ = reader.skip(&Limits::DEFAULT);
            prop_assert!(reader.offset() <= bytes.len());
        }
    }

    #[test]
    fn depth_is_counted_in_containers() {
        let nested = |depth: usize| {
            let mut b = vec![0x91; depth];
            b.push(0xc0);
            b
        };
        assert!(Reader::new(&nested(32)).skip(&Limits::DEFAULT).is_ok());
        assert!(Reader::new(&nested(33)).skip(&Limits::DEFAULT).is_err());
        assert!(Reader::new(&nested(100_000)).skip(&Limits { depth: usize::MAX, ..Limits::DEFAULT }).is_err());
    }
}
