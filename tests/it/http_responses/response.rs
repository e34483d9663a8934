//! A strict reader of what the proxy sends to its clients.

/// What has come so far.
#[derive(Debug)]
pub(super) struct Response<'b> {
    /// Statuses of the interim responses before it.
    pub(super) interim: Vec<u16>,
    pub(super) status: u16,
    pub(super) fields: Vec<(&'b str, &'b [u8])>,
    /// Without the framing of chunks.
    pub(super) body: Vec<u8>,
    /// `None`: the body ends with the stream.
    pub(super) is_whole: Option<bool>,
    /// What came behind it.
    pub(super) rest: &'b [u8],
}

impl Response<'_> {
    pub(super) fn values(&self, name: &str) -> Vec<&[u8]> {
        let named = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| *value).collect()
    }

    pub(super) fn says_close(&self) -> bool {
        self.values("connection") == [b"close"]
    }
}

/// Reads the response to a request of this method. `Ok(None)`: its head has not come to its end.
pub(super) fn parse<'b>(bytes: &'b [u8], method: &str) -> Result<Option<Response<'b>>, String> {
    let (mut rest, mut interim) = (bytes, Vec::new());
    loop {
        let Some(end) = find(rest, b"\r\n\r\n") else { return Ok(None) };
        let (head, behind) = rest.split_at(end + 4);
        rest = behind;
        let (status, fields) = parse_head(&head[..end + 2])?;
        if (100..200).contains(&status) && status != 101 {
            interim.push(status);
            continue;
        }
        let mut response =
            Response { interim, status, fields, body: Vec::new(), is_whole: None, rest };
        let lengths = response.values("content-length");
        let has_body = method != "HEAD" && !matches!(status, 204 | 304);
        let codings = response.values("transfer-encoding");
        // A length beside a coding is what smuggling is made of.
        if has_body && !codings.is_empty() && !lengths.is_empty() {
            return Err("a length beside a coding".into());
        }
        let last = codings.last().map(|coding| coding.to_ascii_lowercase());
        let is_chunked = last.is_some_and(|coding| coding.ends_with(b"chunked"));
        if !has_body {
            response.is_whole = Some(true);
        } else if is_chunked {
            let (body, behind) = parse_chunks(rest)?;
            response.body = body;
            response.is_whole = Some(behind.is_some());
            response.rest = behind.unwrap_or_default();
        } else if let [length] = lengths[..] {
            let is_number = length.iter().all(u8::is_ascii_digit);
            let length = str::from_utf8(length).unwrap_or_default().parse::<usize>();
            let length = length.ok().filter(|_| is_number).ok_or("a length that is no number")?;
            let (body, behind) = rest.split_at(length.min(rest.len()));
            response.body = body.to_vec();
            response.is_whole = Some(body.len() == length);
            response.rest = behind;
        } else if lengths.is_empty() {
            response.body = rest.to_vec();
            response.rest = &[];
        } else {
            return Err("several lengths".into());
        }
        return Ok(Some(response));
    }
}

type Head<'b> = (u16, Vec<(&'b str, &'b [u8])>);

/// Reads lines that each end with CRLF.
fn parse_head(head: &[u8]) -> Result<Head<'_>, String> {
    let shown = || format!("{:?}", String::from_utf8_lossy(&head[..head.len().min(300)]));
    let mut lines = Vec::new();
    let mut rest = head;
    while let Some(end) = find(rest, b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    if lines.iter().any(|line| line.iter().any(|byte| b"\r\n\0".contains(byte))) {
        return Err(format!("a bare CR, bare LF or NUL in {}", shown()));
    }
    let (first, lines) = lines.split_first().ok_or("no status line")?;
    let status = match first {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', code @ ..]
            if code.len() == 3 || code.get(3) == Some(&b' ') =>
        {
            str::from_utf8(&code[..3]).ok().and_then(|code| code.parse().ok())
        }
        _ => None,
    };
    let status = status.filter(|status| *status >= 100).ok_or_else(shown)?;
    let mut fields = Vec::new();
    for line in lines {
        let colon = line.iter().position(|&byte| byte == b':').ok_or_else(shown)?;
        let (name, value) = line.split_at(colon);
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return Err(format!("a name with a blank or without a character in {}", shown()));
        }
        fields.push((str::from_utf8(name).map_err(|_| shown())?, value[1..].trim_ascii()));
    }
    Ok((status, fields))
}

/// The body, and what comes behind its last chunk, if that has come.
fn parse_chunks(bytes: &[u8]) -> Result<(Vec<u8>, Option<&[u8]>), String> {
    let (mut rest, mut body) = (bytes, Vec::new());
    while let Some(end) = find(rest, b"\r\n") {
        let line = str::from_utf8(&rest[..end]).map_err(|_| "a chunk's size is no text")?;
        // Blanks may follow the size (RFC 9112 section 7.1.1).
        let size = line.split(';').next().unwrap_or_default().trim_end_matches([' ', '\t']);
        let Ok(size) = usize::from_str_radix(size, 16) else { break };
        rest = &rest[end + 2..];
        if size == 0 {
            // Trailer fields, up to the empty line.
            while let Some(end) = find(rest, b"\r\n") {
                rest = &rest[end + 2..];
                if end == 0 {
                    return Ok((body, Some(rest)));
                }
            }
            break;
        }
        body.extend_from_slice(&rest[..size.min(rest.len())]);
        if rest.get(size..size + 2) != Some(b"\r\n") {
            break;
        }
        rest = &rest[size + 2..];
    }
    Ok((body, None))
}

pub(super) fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}
