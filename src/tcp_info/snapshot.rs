//! TCP information as returned by the kernel, to be decoded later.

use super::query;
use super::{Error, SysInfo, TcpInfo};

/// A type with TCP information: anything with a file descriptor (or, on Windows, a socket).
#[cfg(unix)]
pub trait Socket: std::os::fd::AsFd {}
#[cfg(unix)]
impl<T: std::os::fd::AsFd> Socket for T {}

/// A type with TCP information: anything with a socket.
#[cfg(windows)]
pub trait Socket: std::os::windows::io::AsSocket {}
#[cfg(windows)]
impl<T: std::os::windows::io::AsSocket> Socket for T {}

/// What the kernel returned about a socket at one moment, not decoded yet.
///
/// Taking one costs one to three system calls, and the size of the kernel's structure; it can be
/// decoded later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    info: Box<[u8]>,
    congestion: Option<Box<str>>,
    congestion_info: Box<[u8]>,
}

impl Snapshot {
    /// Asks for everything: the structure, the congestion control's name and its data.
    ///
    /// # Errors
    ///
    /// As [`TcpInfo::of`].
    pub fn of<S: Socket>(socket: &S) -> Result<Self, Error> {
        let mut snapshot = Self::structure(socket)?;
        snapshot.ask_congestion(socket);
        snapshot.ask_congestion_info(socket);
        Ok(snapshot)
    }

    /// Asks for the structure alone: one system call.
    ///
    /// # Errors
    ///
    /// As [`TcpInfo::of`].
    pub(crate) fn structure<S: Socket>(socket: &S) -> Result<Self, Error> {
        Ok(Self {
            info: query::structure(socket)?,
            congestion: None,
            congestion_info: Box::default(),
        })
    }

    /// Asks for the name of the congestion control; unknown if that fails.
    pub(crate) fn ask_congestion<S: Socket>(&mut self, socket: &S) {
        self.congestion = query::congestion(socket);
    }

    /// Asks for the congestion control's data, if that algorithm has any; keeps the old data if
    /// that fails.
    pub(crate) fn ask_congestion_info<S: Socket>(&mut self, socket: &S) {
        if let Some(name) = &self.congestion {
            let answer = query::congestion_info(socket, name);
            if !answer.is_empty() {
                self.congestion_info = answer;
            }
        }
    }

    /// Takes missing congestion control data from an earlier snapshot: both calls fail once the
    /// connection is gone.
    pub(crate) fn fill_congestion_from(&mut self, earlier: &Self) {
        if self.congestion.is_none() {
            self.congestion.clone_from(&earlier.congestion);
        }
        if self.congestion_info.is_empty() {
            self.congestion_info.clone_from(&earlier.congestion_info);
        }
    }

    /// The structure, the congestion control's name and its data.
    pub(super) fn parts(&self) -> (&[u8], Option<&str>, &[u8]) {
        (&self.info, self.congestion.as_deref(), &self.congestion_info)
    }

    pub(crate) fn from_parts(
        info: impl Into<Box<[u8]>>,
        congestion: Option<&str>,
        congestion_info: &[u8],
    ) -> Self {
        Self {
            info: info.into(),
            congestion: congestion.map(Into::into),
            congestion_info: congestion_info.into(),
        }
    }

    /// The figures of Linux's structure, without those of the congestion control. `None` on other
    /// systems.
    #[cfg(feature = "proxy")]
    pub(crate) fn linux(&self) -> Option<super::LinuxInfo> {
        cfg!(any(target_os = "linux", target_os = "android"))
            .then(|| super::LinuxInfo::decode(&self.info))
    }

    /// The structure's bytes, exactly as many as the kernel returned.
    pub fn bytes(&self) -> &[u8] {
        &self.info
    }

    /// The same in hexadecimal.
    #[cfg(feature = "proxy")]
    pub(crate) fn hex(&self) -> String {
        let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
        self.info.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0f)]).collect()
    }

    /// Decodes it by this system's layout.
    pub fn decode(&self) -> TcpInfo {
        self.decode_sys_info().normalise(self.info.len())
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn decode_sys_info(&self) -> SysInfo {
        let info = super::LinuxInfo::decode(&self.info)
            .with_congestion(self.congestion.as_deref(), &self.congestion_info);
        SysInfo::Linux(Box::new(info))
    }

    #[cfg(target_vendor = "apple")]
    fn decode_sys_info(&self) -> SysInfo {
        SysInfo::Macos(Box::new(super::MacosInfo::decode(&self.info)))
    }

    #[cfg(target_os = "freebsd")]
    fn decode_sys_info(&self) -> SysInfo {
        SysInfo::FreeBsd(Box::new(super::FreeBsdInfo::decode(&self.info)))
    }

    // Windows, and systems without TCP information, where no snapshot is ever made.
    #[cfg(not(any(
        target_os = "linux",
        target_os = "android",
        target_vendor = "apple",
        target_os = "freebsd"
    )))]
    fn decode_sys_info(&self) -> SysInfo {
        SysInfo::Windows(Box::new(super::WindowsInfo::decode(&self.info)))
    }
}

/// The bytes of Linux's structure, if they were filled: no socket has state 0, which distinguishes
/// an emulator without figures from a connection with zeros.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn filled(bytes: &[u8]) -> Result<Box<[u8]>, Error> {
    match bytes.first() {
        None | Some(0) => Err(Error::Unsupported),
        Some(_) => Ok(bytes.into()),
    }
}
