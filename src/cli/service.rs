//! What a service manager is told (systemd's `sd_notify(3)`). Where there is none, nothing.

#[cfg(unix)]
mod notify {
    use sd_notify::NotifyState;

    /// Connections are taken. From here on the manager also hears, as often as it wants to
    /// (`WatchdogSec=`), that the runtime is alive. Must be called within a tokio runtime.
    pub(crate) fn ready() {
        tell(NotifyState::Ready);
        if let Some(patience) = sd_notify::watchdog_enabled() {
            tokio::spawn(async move {
                // Twice as often as it must, as sd_watchdog_enabled(3) advises.
                let mut beat = tokio::time::interval(patience / 2);
                loop {
                    beat.tick().await;
                    tell(NotifyState::Watchdog);
                }
            });
        }
    }

    /// No more connections are taken.
    pub(crate) fn stopping() {
        tell(NotifyState::Stopping);
    }

    fn tell(state: NotifyState<'_>) {
        if let Err(error) = sd_notify::notify(&[state]) {
            tracing::debug!("cannot notify the service manager: {error}");
        }
    }
}

#[cfg(not(unix))]
mod notify {
    pub(crate) fn ready() {}

    pub(crate) fn stopping() {}
}

pub(crate) use notify::{ready, stopping};
