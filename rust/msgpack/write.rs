//! Writing: each value in the shortest form, as `msgpack.packb` does.

use super::TIMESTAMP;

#[inline]
pub fn nil(out: &mut Vec<u8>) {
    out.push(0xc0);
}

#[inline]
pub fn bool(out: &mut Vec<u8>, value: bool) {
    out.push(0xc2 + u8::from(value));
}

#[allow(clippy::cast_possible_truncation)] // each arm's range fits
#[inline]
pub fn uint(out: &mut Vec<u8>, value: u64) {
    match value {
        0..=0x7f => out.push(value as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, value as u8]),
        0x100..=0xffff => tagged(out, 0xcd, &(value as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => tagged(out, 0xce, &(value as u32).to_be_bytes()),
        _ => tagged(out, 0xcf, &value.to_be_bytes()),
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // each arm's range fits
#[inline]
pub fn int(out: &mut Vec<u8>, value: i64) {
    match value {
        0.. => uint(out, value as u64),
        -32..=-1 => out.push(value as u8),
        -0x80..=-33 => out.extend_from_slice(&[0xd0, value as u8]),
        -0x8000..=-0x81 => tagged(out, 0xd1, &(value as i16).to_be_bytes()),
        -0x8000_0000..=-0x8001 => tagged(out, 0xd2, &(value as i32).to_be_bytes()),
        _ => tagged(out, 0xd3, &value.to_be_bytes()),
    }
}

#[inline]
pub fn float(out: &mut Vec<u8>, value: f64) {
    tagged(out, 0xcb, &value.to_be_bytes());
}

#[allow(clippy::cast_possible_truncation)] // each arm's range fits; longer is refused before it comes here
#[inline]
pub fn str(out: &mut Vec<u8>, value: &str) {
    match value.len() {
        ..=SHORT => return short_str(out, value.as_bytes()),
        len @ 32..=0xff => out.extend_from_slice(&[0xd9, len as u8]),
        len @ 0x100..=0xffff => tagged(out, 0xda, &(len as u16).to_be_bytes()),
        len => tagged(out, 0xdb, &(len as u32).to_be_bytes()),
    }
    out.extend_from_slice(value.as_bytes());
}

/// The longest string whose mark holds its length.
const SHORT: usize = 31;

/// Most strings come here: mark and text share one look at the room that is left.
#[allow(clippy::cast_possible_truncation)] // at most SHORT
#[inline]
fn short_str(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(1 + SHORT);
    let len = out.len();
    // SAFETY: there is room for mark and text behind what is there, and both are written before they count.
    unsafe {
        let place = out.as_mut_ptr().add(len);
        place.write(0xa0 | text.len() as u8);
        copy_short(text, place.add(1));
        out.set_len(len + 1 + text.len());
    }
}

/// In one or two pieces of known size, the second overlapping the first: a call would cost more than copying so little.
///
/// # Safety
/// `text` has at most 32 bytes, and there is room for it at `to`.
#[inline]
pub unsafe fn copy_short(text: &[u8], to: *mut u8) {
    unsafe {
        if let (Some(first), Some(last)) = (text.first_chunk::<16>(), text.last_chunk::<16>()) {
            to.cast::<[u8; 16]>().write(*first);
            to.add(text.len() - 16).cast::<[u8; 16]>().write(*last);
        } else if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
            to.cast::<[u8; 8]>().write(*first);
            to.add(text.len() - 8).cast::<[u8; 8]>().write(*last);
        } else if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
            to.cast::<[u8; 4]>().write(*first);
            to.add(text.len() - 4).cast::<[u8; 4]>().write(*last);
        } else {
            text.iter().enumerate().for_each(|(index, byte)| to.add(index).write(*byte));
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // as above
pub fn bin(out: &mut Vec<u8>, value: &[u8]) {
    match value.len() {
        len @ 0..=0xff => out.extend_from_slice(&[0xc4, len as u8]),
        len @ 0x100..=0xffff => tagged(out, 0xc5, &(len as u16).to_be_bytes()),
        len => tagged(out, 0xc6, &(len as u32).to_be_bytes()),
    }
    out.extend_from_slice(value);
}

#[inline]
pub fn array(out: &mut Vec<u8>, len: usize) {
    container(out, len, 0x90, 0xdc);
}

#[inline]
pub fn map(out: &mut Vec<u8>, len: usize) {
    container(out, len, 0x80, 0xde);
}

#[allow(clippy::cast_possible_truncation)] // as above
#[inline]
fn container(out: &mut Vec<u8>, len: usize, short: u8, wide: u8) {
    match len {
        0..=15 => out.push(short | len as u8),
        16..=0xffff => tagged(out, wide, &(len as u16).to_be_bytes()),
        _ => tagged(out, wide + 1, &(len as u32).to_be_bytes()),
    }
}

/// A point in time: 32, 64 or 96 bits, whichever is the first that fits.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // each branch's range fits
pub fn timestamp(out: &mut Vec<u8>, seconds: i64, nanoseconds: u32) {
    let kind = TIMESTAMP as u8;
    if seconds >> 34 == 0 {
        let packed = u64::from(nanoseconds) << 34 | seconds as u64;
        if packed >> 32 == 0 {
            out.extend_from_slice(&[0xd6, kind]);
            out.extend_from_slice(&(packed as u32).to_be_bytes());
        } else {
            out.extend_from_slice(&[0xd7, kind]);
            out.extend_from_slice(&packed.to_be_bytes());
        }
    } else {
        out.extend_from_slice(&[0xc7, 12, kind]);
        out.extend_from_slice(&nanoseconds.to_be_bytes());
        out.extend_from_slice(&seconds.to_be_bytes());
    }
}

/// Mark and bytes, at most 8 of these, in one step.
#[inline]
fn tagged<const N: usize>(out: &mut Vec<u8>, mark: u8, bytes: &[u8; N]) {
    let mut tagged = [mark; 9];
    tagged[1..=N].copy_from_slice(bytes);
    out.extend_from_slice(&tagged[..=N]);
}
