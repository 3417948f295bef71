//! Points in time as most writers put them: `2013-01-01T10:17:00.123Z`, with any offset; written as UTC.

use std::io::Write as _;

const NANOSECOND_DIGITS: usize = 9;

/// Nanoseconds since 1970; None: written in another way, no date of the calendar, or outside the 64 bits.
pub fn nanoseconds(text: &str) -> Option<i64> {
    let (head, rest) = text.as_bytes().split_first_chunk::<19>()?;
    let [_, _, _, _, b'-', _, _, b'-', _, _, b'T' | b' ', _, _, b':', _, _, b':', _, _] = head else { return None };
    let (year, month, day) = (number(&head[..4])?, number(&head[5..7])?, number(&head[8..10])?);
    let (hour, minute, second) = (number(&head[11..13])?, number(&head[14..16])?, number(&head[17..])?);
    if year == 0 || !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (nanoseconds, rest) = fraction(rest)?;
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset(rest)?;
    // In 128 bits: the first second of the range lies outside it, but for its last part.
    i64::try_from(i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)).ok()
}

/// Digits and nothing else.
fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

/// Nanoseconds, and what follows them.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.', digits)) = text.split_first() else { return Some((0, text)) };
    let len = digits.iter().position(|digit| !digit.is_ascii_digit())?;
    if !(1..=NANOSECOND_DIGITS).contains(&len) {
        return None;
    }
    let (digits, rest) = digits.split_at(len);
    Some(((len..NANOSECOND_DIGITS).fold(number(digits)?, |number, _| number * 10), rest))
}

/// Seconds east of UTC.
fn offset(text: &[u8]) -> Option<i64> {
    match text {
        b"Z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            let seconds = (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)?;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01, of the years from 1 on.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // A year that begins in March has its leap day last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468
}

/// Appends a moment in UTC, as short as it can be.
pub fn write(out: &mut Vec<u8>, time_ns: i64) {
    let (seconds, mut fraction) = (time_ns.div_euclid(1_000_000_000), time_ns.rem_euclid(1_000_000_000));
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(day);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    // Writing to memory does not fail.
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if fraction != 0 {
        let mut digits = NANOSECOND_DIGITS;
        while fraction % 10 == 0 {
            (fraction, digits) = (fraction / 10, digits - 1);
        }
        let _ = write!(out, ".{fraction:0digits$}");
    }
    out.push(b'Z');
}

/// Year, month and day of a count of days since 1970-01-01; the inverse of `days`.
fn date(days: i64) -> (i64, i64, i64) {
    // Eras of 400 years that begin on the first of March.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = year + era * 400;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(time_ns: i64) {
            let mut out = Vec::new();
            write(&mut out, time_ns);
            prop_assert_eq!(nanoseconds(std::str::from_utf8(&out).unwrap()), Some(time_ns));
        }
    }

    #[test]
    fn days_are_counted_over_the_whole_calendar() {
        let mut count = -719_162;
        for year in 1..=9999 {
            for month in 1..=12 {
                for day in 1..=days_in(year, month) {
                    assert_eq!(days(year, month, day), count, "{year}-{month}-{day}");
                    assert_eq!(date(count), (year, month, day));
                    count += 1;
                }
            }
        }
        assert_eq!(count, 2_932_897);
    }

    #[test]
    fn moments_are_read_to_the_nanosecond() {
        let start = 1_357_035_420_000_000_000;
        for (text, ns) in [
            ("2013-01-01T10:17:00Z", 0),
            ("2013-01-01 12:17:00+02:00", 0),
            ("2013-01-01T04:47:00-05:30", 0),
            ("2013-01-01T10:17:00.5Z", 500_000_000),
            ("2013-01-01T10:17:00.123456789+00:00", 123_456_789),
        ] {
            assert_eq!(nanoseconds(text), Some(start + ns), "{text}");
        }
        assert_eq!(nanoseconds("1677-09-21T00:12:43.145224192Z"), Some(i64::MIN));
        assert_eq!(nanoseconds("2262-04-11T23:47:16.854775807Z"), Some(i64::MAX));
    }

    #[test]
    fn what_is_written_otherwise_is_left_to_others() {
        for text in [
            "",
            "2013-01-01",
            "2013-01-01T10:17:00",
            "2013-01-01T10:17Z",
            "20130101T101700Z",
            "2013-02-29T10:17:00Z",
            "2013-00-01T10:17:00Z",
            "2013-01-00T10:17:00Z",
            "0000-01-01T10:17:00Z",
            "2013-01-01T24:00:00Z",
            "2013-01-01T10:60:00Z",
            "2013-01-01T10:17:60Z",
            "2013-01-01T10:17:00.Z",
            "2013-01-01T10:17:00.5",
            "2013-01-01T10:17:00.1234567890Z",
            "2013-01-01T10:17:00,5Z",
            "2013-01-01T10:17:00z",
            "2013-01-01T10:17:00+24:00",
            "2013-01-01T10:17:00+02",
            "2013-01-01T10:17:00Z ",
            "+013-01-01T10:17:00Z",
            "1677-09-21T00:12:43.145224191Z",
            "2262-04-11T23:47:16.854775808Z",
        ] {
            assert_eq!(nanoseconds(text), None, "{text}");
        }
    }
}
