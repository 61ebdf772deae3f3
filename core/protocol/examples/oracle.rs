//! The side of `testing/oracle` that is compared: frames come in on standard input, each a message
//! that Kafka's classes wrote; each goes out again, decoded and encoded.
//!
//! In: kind (0 request, 1 response, 2 record), key INT16, version INT16, name length INT8, name,
//! length INT32, bytes. Out: 0, length INT32, bytes; or 1, length INT32, what is wrong as text.

use std::io::{self, Read, Write};

use bytes::Bytes;
use thalweg_protocol::{ApiKey, reencode};

fn main() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    while let Some(kind) = next_kind(&mut input)? {
        let key = i16::from_be_bytes(take(&mut input)?);
        let version = i16::from_be_bytes(take(&mut input)?);
        let [name_length] = take(&mut input)?;
        let name = take_all(&mut input, usize::from(name_length))?;
        let length = u32::from_be_bytes(take(&mut input)?);
        let bytes = Bytes::from(take_all(&mut input, length as usize)?);
        let name = String::from_utf8_lossy(&name);
        let (status, answer) = match answer(kind, key, version, &name, &bytes) {
            Ok(bytes) => (0, bytes),
            Err(text) => (1, Bytes::from(text)),
        };
        output.write_all(&[status])?;
        output.write_all(&u32::try_from(answer.len()).unwrap_or(u32::MAX).to_be_bytes())?;
        output.write_all(&answer)?;
        output.flush()?;
    }
    Ok(())
}

fn answer(kind: u8, key: i16, version: i16, name: &str, bytes: &Bytes) -> Result<Bytes, String> {
    let api = ApiKey::from_wire(key).ok_or_else(|| format!("no API has key {key}"));
    let reencoded = match kind {
        0 => reencode::request(api?, version, bytes),
        1 => reencode::response(api?, version, bytes),
        _ => reencode::record(name, version, bytes).ok_or_else(|| format!("no record {name}"))?,
    };
    reencoded.map_err(|error| error.to_string())
}

/// `None` at the end of the input.
fn next_kind(input: &mut impl Read) -> io::Result<Option<u8>> {
    let mut kind = [0];
    Ok((input.read(&mut kind)? == 1).then_some(kind[0]))
}

fn take<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn take_all(input: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}
