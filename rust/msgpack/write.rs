//! Writing: each value in the shortest form, as `msgpack.packb` does.

use super::TIMESTAMP;

pub fn nil(out: &mut Vec<u8>) {
    out.push(0xc0);
}

pub fn bool(out: &mut Vec<u8>, value: bool) {
    out.push(0xc2 + u8::from(value));
}

#[allow(clippy::cast_possible_truncation)] // each arm's range fits
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

pub fn float(out: &mut Vec<u8>, value: f64) {
    tagged(out, 0xcb, &value.to_be_bytes());
}

#[allow(clippy::cast_possible_truncation)] // each arm's range fits; longer is refused before it comes here
pub fn str(out: &mut Vec<u8>, value: &str) {
    match value.len() {
        len @ 0..=31 => out.push(0xa0 | len as u8),
        len @ 32..=0xff => out.extend_from_slice(&[0xd9, len as u8]),
        len @ 0x100..=0xffff => tagged(out, 0xda, &(len as u16).to_be_bytes()),
        len => tagged(out, 0xdb, &(len as u32).to_be_bytes()),
    }
    out.extend_from_slice(value.as_bytes());
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

pub fn array(out: &mut Vec<u8>, len: usize) {
    container(out, len, 0x90, 0xdc);
}

pub fn map(out: &mut Vec<u8>, len: usize) {
    container(out, len, 0x80, 0xde);
}

#[allow(clippy::cast_possible_truncation)] // as above
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

#[inline]
fn tagged<const N: usize>(out: &mut Vec<u8>, mark: u8, bytes: &[u8; N]) {
    out.push(mark);
    out.extend_from_slice(bytes);
}
