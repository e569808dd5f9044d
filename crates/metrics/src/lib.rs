//! Metric families declared once and recorded as typed events; OpenMetrics and Prometheus text exposition; the injected clock.
