//! The boot matrix: one change of a good environment, what the product does, and why.

use crate::boot::Product::{
    self, Crm, Fees, FetcherManager, FetcherWorker, Ledger, Ledger4, Matcher, Reporter, Tracer,
};
use crate::boot::Verdict;

pub(super) const B: Verdict = Verdict::Boots;
pub(super) const I: Verdict = Verdict::BootsInsecurely;
pub(super) const R: Verdict = Verdict::RefusesToStart;

/// Products, changes of the good environment, verdict, and the rule that must speak.
type Row = (
    &'static [Product],
    &'static [&'static str],
    Verdict,
    &'static str,
);

/// What the products do at boot, case by case.
pub(super) const MATRIX: &[Row] = &[
    // 1: authentication must be on.
    (
        &[Ledger, Ledger4, Crm, Tracer],
        &["PLUGIN_AUTH_ENABLED=false"],
        R,
        "auth-required",
    ),
    (
        &[Ledger, Ledger4, Crm, Tracer],
        &["-PLUGIN_AUTH_ENABLED"],
        R,
        "auth-required",
    ),
    (
        &[Ledger, Ledger4, Crm, Tracer],
        &["PLUGIN_AUTH_ENABLED=yes"],
        R,
        "auth-required",
    ),
    (
        &[FetcherManager, FetcherWorker, Matcher, Fees],
        &["PLUGIN_AUTH_ENABLED=false"],
        I,
        "auth-required",
    ),
    (
        &[Reporter],
        &["PLUGIN_AUTH_ENABLED=false", "ENV_NAME=staging"],
        I,
        "auth-required",
    ),
    // 2: in production even single-tenant.
    (
        &[Ledger4, Reporter],
        &["PLUGIN_AUTH_ENABLED=false"],
        R,
        "auth-required-production",
    ),
    // 3: an empty address lets everything through.
    (
        &[Ledger, Ledger4],
        &["PLUGIN_AUTH_HOST="],
        I,
        "auth-address-empty",
    ),
    (
        &[Crm, Tracer, FetcherManager, Reporter, Fees],
        &["PLUGIN_AUTH_ADDRESS= "],
        I,
        "auth-address-empty",
    ),
    (
        &[Matcher],
        &["-PLUGIN_AUTH_ADDRESS"],
        R,
        "auth-address-empty",
    ),
    (&[Matcher], &["-AUTH_JWT_SECRET"], R, "auth-secret-missing"),
    (
        &[Ledger],
        &[
            "-PLUGIN_AUTH_HOST",
            "PLUGIN_AUTH_ADDRESS=http://plugin-auth:4000",
        ],
        I,
        "auth-variable-swapped",
    ),
    (
        &[Tracer, Crm],
        &[
            "-PLUGIN_AUTH_ADDRESS",
            "PLUGIN_AUTH_HOST=http://plugin-auth:4000",
        ],
        I,
        "auth-variable-swapped",
    ),
    (
        &[Crm, Tracer],
        &["PLUGIN_AUTH_ADDRESS=plugin-auth"],
        B,
        "auth-address-relative",
    ),
    (
        &[Ledger],
        &["PLUGIN_AUTH_HOST=plugin-auth:4000"],
        B,
        "auth-address-relative",
    ),
    (
        &[Ledger],
        &["PLUGIN_AUTH_HOST=http://auth.example"],
        B,
        "auth-address-http",
    ),
    // 4 to 6: the URL.
    (&Product::ALL, &["MULTI_TENANT_URL= "], R, "url-missing"),
    (&Product::ALL, &["-MULTI_TENANT_URL"], R, "url-missing"),
    (
        &[
            Ledger,
            Ledger4,
            Crm,
            Tracer,
            FetcherManager,
            FetcherWorker,
            Matcher,
            Fees,
        ],
        &["MULTI_TENANT_URL=tm.example"],
        R,
        "url-invalid",
    ),
    (
        &[Reporter],
        &["MULTI_TENANT_URL=tm.example"],
        B,
        "url-invalid",
    ),
    (
        &[
            Ledger,
            Ledger4,
            Crm,
            Tracer,
            FetcherManager,
            FetcherWorker,
            Matcher,
            Fees,
        ],
        &["MULTI_TENANT_URL=http://tm.example"],
        R,
        "url-http-refused",
    ),
    (
        &[Reporter],
        &["MULTI_TENANT_URL=http://tm.example"],
        I,
        "url-http",
    ),
    (
        &[Ledger, Ledger4, Crm],
        &["MULTI_TENANT_URL=http://tm.example", "ENV_NAME=staging"],
        I,
        "url-http",
    ),
    (
        &[Ledger, Crm],
        &["MULTI_TENANT_URL=http://tm.example", "ENV_NAME=prod"],
        R,
        "url-http-refused",
    ),
    (
        &[Ledger, Crm],
        &["MULTI_TENANT_URL=http://tm.example", "-ENV_NAME"],
        R,
        "url-http-refused",
    ),
    (
        &[Ledger],
        &[
            "MULTI_TENANT_URL=http://tm.example",
            "MULTI_TENANT_ALLOW_INSECURE_HTTP=true",
        ],
        R,
        "url-http-refused",
    ),
    (
        &[Tracer, FetcherManager, FetcherWorker, Fees],
        &[
            "MULTI_TENANT_URL=http://tm.example",
            "MULTI_TENANT_ALLOW_INSECURE_HTTP=true",
        ],
        I,
        "url-http",
    ),
    (
        &[Tracer, FetcherManager],
        &["MULTI_TENANT_URL=http://tm.example", "ENV_NAME=staging"],
        R,
        "url-http-refused",
    ),
    (
        &[Tracer],
        &[
            "MULTI_TENANT_URL=http://tm.example",
            "MULTI_TENANT_ALLOW_INSECURE_HTTP=yes",
        ],
        R,
        "url-http-refused",
    ),
    (
        &[Matcher],
        &["MULTI_TENANT_URL=http://tm.example", "ENV_NAME=development"],
        I,
        "url-http",
    ),
    (
        &[Tracer],
        &[
            "MULTI_TENANT_URL=http://127.0.0.1:4003",
            "MULTI_TENANT_ALLOW_INSECURE_HTTP=true",
        ],
        B,
        "url-http",
    ),
    // 7 and 8: key and name.
    (
        &[
            Ledger,
            Ledger4,
            Crm,
            Tracer,
            FetcherManager,
            FetcherWorker,
            Matcher,
            Fees,
        ],
        &["MULTI_TENANT_SERVICE_API_KEY="],
        R,
        "api-key-missing",
    ),
    (
        &[Ledger, Ledger4, Crm],
        &["-APPLICATION_NAME"],
        R,
        "application-name-missing",
    ),
    (
        &[Ledger],
        &["-APPLICATION_NAME", "MULTI_TENANT_SERVICE_NAME=ledger"],
        R,
        "application-name-missing",
    ),
    (&[Matcher], &["-ENV_NAME"], R, "environment-missing"),
    // 9 to 12: events.
    (
        &[Tracer, FetcherManager, FetcherWorker, Fees],
        &["-MULTI_TENANT_REDIS_HOST"],
        R,
        "redis-host-missing",
    ),
    (
        &[Ledger, Ledger4, Crm],
        &["-MULTI_TENANT_REDIS_HOST"],
        B,
        "redis-host-missing",
    ),
    (
        &[Ledger, Crm, Tracer, FetcherManager, Fees],
        &["ENV_NAME=prod"],
        B,
        "environment-without-events",
    ),
    (
        &[Ledger, Tracer],
        &["-ENV_NAME"],
        B,
        "environment-without-events",
    ),
    (
        &[Ledger, Crm],
        &["ENV_NAME=development"],
        B,
        "environment-without-events",
    ),
    (
        &[Ledger, Crm],
        &["ENV_NAME=development", "ENVIRONMENT_NAME=production"],
        I,
        "environment-split",
    ),
    (
        &[Tracer],
        &["ENV_NAME=development", "ENVIRONMENT_NAME=production"],
        B,
        "environment-split",
    ),
    (
        &[FetcherManager, FetcherWorker],
        &["MULTI_TENANT_REDIS_CA_CERT=TUlJ"],
        R,
        "redis-ca-refused",
    ),
    (
        &[Ledger, Tracer],
        &["MULTI_TENANT_REDIS_CA_CERT=TUlJ"],
        B,
        "variable-unread",
    ),
    (
        &[Ledger, FetcherManager],
        &["MULTI_TENANT_REDIS_TLS=false"],
        B,
        "redis-in-clear",
    ),
    (&[Ledger], &["-MULTI_TENANT_REDIS_TLS"], B, "redis-in-clear"),
    (
        &[Tracer],
        &["-MULTI_TENANT_REDIS_TLS"],
        B,
        "redis-tls-implied",
    ),
    (
        &[Ledger],
        &["MULTI_TENANT_REDIS_PORT=70000"],
        B,
        "port-invalid",
    ),
    (
        &[Ledger],
        &["MULTI_TENANT_REDIS_HOST=redis:6379"],
        B,
        "host-with-port",
    ),
    // 13 to 15.
    (
        &[Tracer],
        &["API_KEY_ENABLED_ONLY_VALIDATION=true"],
        R,
        "api-key-only",
    ),
    (&[Tracer], &["-TRACER_TLS_MODE"], B, "seam-in-clear"),
    (
        &[Ledger, Ledger4],
        &["-DB_ONBOARDING_HOST"],
        R,
        "store-missing",
    ),
    (
        &[Ledger, Ledger4],
        &["-DB_TRANSACTION_HOST"],
        R,
        "store-missing",
    ),
    (&[Tracer], &["DB_HOST="], R, "store-missing"),
    (&[FetcherManager], &["-MONGO_HOST"], R, "store-missing"),
    (&[Crm, Reporter], &["-MONGO_HOST"], B, "store-missing"),
    (
        &[Ledger, Ledger4],
        &["-RABBITMQ_TRANSACTION_BALANCE_OPERATION_QUEUE"],
        R,
        "balance-queue-missing",
    ),
    // Numbers.
    (
        &[Ledger, Ledger4, Crm],
        &["-MULTI_TENANT_CACHE_TTL_SEC"],
        B,
        "cache-never-expires",
    ),
    (
        &[Ledger, Ledger4, Crm],
        &["MULTI_TENANT_CACHE_TTL_SEC=0"],
        B,
        "cache-never-expires",
    ),
    (
        &[Ledger],
        &["MULTI_TENANT_CACHE_TTL_SEC=30s"],
        B,
        "cache-never-expires",
    ),
    (
        &[Ledger],
        &["MULTI_TENANT_CACHE_TTL_SEC=30s"],
        B,
        "number-malformed",
    ),
    (
        &[Ledger],
        &["MULTI_TENANT_CACHE_TTL_SEC=30"],
        B,
        "cache-too-short",
    ),
    (
        &[FetcherManager],
        &["-MULTI_TENANT_CACHE_TTL_SEC"],
        B,
        "cache-default-long",
    ),
    (
        &[Crm],
        &["-MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD"],
        B,
        "breaker-off",
    ),
    (
        &[FetcherWorker],
        &["MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD=5"],
        B,
        "breaker-window-zero",
    ),
    (
        &[Reporter],
        &["-MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD"],
        R,
        "breaker-missing",
    ),
    (
        &[Reporter],
        &["MULTI_TENANT_CIRCUIT_BREAKER_TIMEOUT_SEC=30s"],
        R,
        "breaker-missing",
    ),
    (
        &[Crm, Reporter],
        &["-MULTI_TENANT_MAX_TENANT_POOLS"],
        B,
        "pools-unlimited",
    ),
    (
        &[Crm],
        &["MULTI_TENANT_MAX_TENANT_POOLS=0"],
        B,
        "pools-unlimited",
    ),
    (
        &[Matcher],
        &["MULTI_TENANT_CACHE_TTL_SEC=0"],
        R,
        "number-not-positive",
    ),
    (
        &[Matcher],
        &["MULTI_TENANT_TIMEOUT=30s"],
        R,
        "number-not-positive",
    ),
    // TLS.
    (
        &[Ledger],
        &["DB_ONBOARDING_SSLMODE=disable"],
        R,
        "tls-required",
    ),
    (
        &[Ledger],
        &["DB_ONBOARDING_SSLMODE=prefer", "-ALLOW_INSECURE_TLS"],
        R,
        "tls-required",
    ),
    (&[Ledger], &["REDIS_TLS=false"], R, "tls-required"),
    (&[Tracer], &["DB_SSL_MODE=disable"], R, "tls-required"),
    (&[Crm], &["MONGO_URI=mongodb"], R, "tls-required"),
    (
        &[Ledger, Tracer],
        &[
            "DB_ONBOARDING_SSLMODE=disable",
            "DB_SSL_MODE=disable",
            "ALLOW_INSECURE_TLS=YES",
        ],
        B,
        "tls-not-required",
    ),
    (&[Ledger], &["ALLOW_INSECURE_TLS=t"], B, "flag-malformed"),
    (
        &[Ledger],
        &["DEPLOYMENT_MODE=saas", "MULTI_TENANT_REDIS_TLS=false"],
        R,
        "saas-tls",
    ),
    (
        &[Tracer],
        &[
            "DEPLOYMENT_MODE=saas",
            "DB_SSL_MODE=disable",
            "ALLOW_INSECURE_TLS=true",
        ],
        R,
        "saas-tls",
    ),
    (
        &[Ledger, Tracer, Crm],
        &["DEPLOYMENT_MODE=local"],
        B,
        "deployment-mode-local",
    ),
    (
        &[Ledger],
        &["DEPLOYMENT_MODE=cloud"],
        B,
        "deployment-mode-unknown",
    ),
    // Values and names.
    (
        &[Tracer, FetcherManager],
        &["MULTI_TENANT_ENABLED=yes"],
        I,
        "flag-malformed",
    ),
    (
        &[Tracer],
        &["MULTI_TENANT_ENABLED=nope"],
        B,
        "flag-malformed",
    ),
    (
        &[Ledger],
        &["MULTI_TENANT_ENABLED=false"],
        R,
        "tenancy-off-but-set",
    ),
    (
        &[Tracer],
        &["MULTI_TENANT_ENABLED=false"],
        B,
        "tenancy-off-but-set",
    ),
    (
        &[Ledger],
        &["DB_ONBOARDING_MAX_OPEN_CONNS=many"],
        B,
        "number-malformed",
    ),
    (
        &[Ledger],
        &["APPLICATION_NAME=\"ledger\""],
        B,
        "value-padded",
    ),
    (&[Ledger], &["ENV_NAME=production\r"], B, "value-padded"),
    (
        &[Ledger],
        &["MULTI_TENANT_CACH_TTL_SEC=1"],
        B,
        "variable-misspelled",
    ),
    (&[Tracer], &["MULTITENANT_URL=x"], B, "variable-misspelled"),
    (
        &[Ledger],
        &["DB_ONBORDING_HOST=x"],
        B,
        "variable-misspelled",
    ),
    (&[Ledger], &["MULTI_TENANT_FLAVOUR=x"], B, "variable-unread"),
    (
        &[Ledger],
        &["MULTI_TENANT_MAX_TENANT_POOLS=10"],
        B,
        "variable-unread",
    ),
    (
        &[FetcherManager],
        &["RABBITMQ_MULTI_TENANT_SYNC_INTERVAL=30"],
        B,
        "variable-unread",
    ),
    (&[Ledger], &["SOMETHING_OF_OURS=1"], B, "variable-unknown"),
    (
        &[Ledger],
        &["DB_ONBOARDING_PASSWORD=lerian"],
        I,
        "secret-published",
    ),
    (
        &[Ledger],
        &["MULTI_TENANT_SERVICE_API_KEY=CHANGE_ME"],
        B,
        "placeholder-left",
    ),
    (
        &[FetcherManager],
        &["APP_ENC_KEY=CHANGE_ME_set_encryption_key"],
        B,
        "placeholder-left",
    ),
];
