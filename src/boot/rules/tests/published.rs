//! What the products' published charts give with nothing but what they ask for, and what their
//! public page says to switch on: the verdict is that of the product at boot. Written from what
//! their code and templates do; nothing of them is copied.

use super::{B, I, R};
use crate::boot::Product::{
    self, Crm, Fees, FetcherManager, FetcherWorker, Ledger, Ledger4, Matcher, Reporter, Tracer,
};
use crate::boot::{Assessment, Tenancy, Verdict, input};

/// Product, values of its chart, verdict, and the rules that must speak.
type Row = (Product, &'static str, Verdict, &'static [&'static str]);

/// What a chart writes by itself, single-tenant.
const DEFAULTS: &[Row] = &[
    (Ledger, "ledger: {enabled: true}", B, &[]),
    // Its ENV_NAME is production, where 4.0 wants authentication, single-tenant too.
    (
        Ledger4,
        "ledger: {image: {tag: 4.0.0}}",
        R,
        &["auth-required-production"],
    ),
    (
        Ledger4,
        "global: {auth: {enabled: true, host: http://plugin-auth:4000}}\nledger: {image: {tag: 4.0.0}}",
        B,
        &[],
    ),
    (Crm, "crm: {enabled: true}", B, &[]),
    (Tracer, "tracer: {enabled: true}", B, &[]),
    (
        FetcherManager,
        "manager: {image: {repository: lerianstudio/fetcher-manager}}",
        B,
        &[],
    ),
    (
        FetcherWorker,
        "worker: {image: {repository: lerianstudio/fetcher-worker}}",
        B,
        &[],
    ),
    (
        Reporter,
        "manager: {image: {repository: lerianstudio/reporter-manager}}",
        B,
        &[],
    ),
    (Fees, "fees: {enabled: true}", B, &[]),
];

/// Multi-tenancy switched on with what the public page lists, and nothing else.
const SWITCHED_ON: &[Row] = &[
    (
        Ledger,
        "ledger:\n  configmap: {MULTI_TENANT_ENABLED: 'true', MULTI_TENANT_URL: 'https://tm', MULTI_TENANT_REDIS_HOST: redis, PLUGIN_AUTH_ENABLED: 'true'}\n  secrets: {MULTI_TENANT_SERVICE_API_KEY: k}\n",
        R,
        // The chart writes SERVICE_NAME, which nothing reads, and not APPLICATION_NAME.
        &[
            "application-name-missing",
            "auth-address-empty",
            "cache-never-expires",
        ],
    ),
    (
        Crm,
        "crm:\n  configmap: {MULTI_TENANT_ENABLED: 'true', MULTI_TENANT_URL: 'https://tm', MULTI_TENANT_REDIS_HOST: redis, PLUGIN_AUTH_ENABLED: 'true'}\n  secrets: {MULTI_TENANT_SERVICE_API_KEY: k}\n",
        R,
        // Its chart writes the switch alone.
        &["chart-drops", "url-missing"],
    ),
    (
        Tracer,
        "tracer:\n  configmap: {MULTI_TENANT_ENABLED: 'true', MULTI_TENANT_URL: 'https://tm', MULTI_TENANT_REDIS_HOST: redis}\n  secrets: {MULTI_TENANT_SERVICE_API_KEY: k}\n",
        R,
        &["auth-required"],
    ),
    (
        FetcherManager,
        "common: {configmap: {MULTI_TENANT_ENABLED: 'true', MULTI_TENANT_URL: 'https://tm', MULTI_TENANT_REDIS_HOST: redis}}\nmanager:\n  image: {repository: fetcher}\n  secrets: {MULTI_TENANT_SERVICE_API_KEY: k}\n",
        // It starts without authentication, in an environment without events.
        I,
        &["auth-required", "environment-without-events"],
    ),
];

/// What is needed beyond the charts' defaults: the product starts, and protects.
const ENOUGH: &[Row] = &[
    (
        Ledger,
        "ledger:\n  configmap: {MULTI_TENANT_ENABLED: 'true', MULTI_TENANT_URL: 'https://tm', MULTI_TENANT_REDIS_HOST: redis, PLUGIN_AUTH_ENABLED: 'true', PLUGIN_AUTH_HOST: 'http://plugin-auth:4000'}\n  secrets: {MULTI_TENANT_SERVICE_API_KEY: k}\n  extraEnvVars: {APPLICATION_NAME: ledger, MULTI_TENANT_CACHE_TTL_SEC: '600'}\n",
        B,
        &[],
    ),
    (
        Crm,
        "crm:\n  configmap: {MULTI_TENANT_ENABLED: 'true', ENV_NAME: staging, PLUGIN_AUTH_ENABLED: 'true', PLUGIN_AUTH_ADDRESS: 'http://plugin-auth:4000'}\n  extraEnvVars: {MULTI_TENANT_URL: 'https://tm', MULTI_TENANT_SERVICE_API_KEY: k, MULTI_TENANT_REDIS_HOST: redis, MULTI_TENANT_CACHE_TTL_SEC: '600', APPLICATION_NAME: crm}\n",
        B,
        &[],
    ),
    (
        Tracer,
        "tracer:\n  configmap: {MULTI_TENANT_ENABLED: 'true', MULTI_TENANT_URL: 'https://tm', MULTI_TENANT_REDIS_HOST: redis, PLUGIN_AUTH_ENABLED: 'true'}\n  secrets: {MULTI_TENANT_SERVICE_API_KEY: k}\n",
        B,
        // The chart writes MULTI_TENANT_REDIS_TLS, which is true, by itself.
        &[],
    ),
    (
        FetcherManager,
        "common: {configmap: {MULTI_TENANT_ENABLED: 'true', MULTI_TENANT_URL: 'https://tm', MULTI_TENANT_REDIS_HOST: redis, ENV_NAME: staging, PLUGIN_AUTH_ENABLED: 'true', PLUGIN_AUTH_ADDRESS: 'http://plugin-auth:4000'}}\nmanager:\n  image: {repository: fetcher}\n  secrets: {MULTI_TENANT_SERVICE_API_KEY: k}\n",
        B,
        &[],
    ),
];

fn tried(rows: &[Row], tenancy: Tenancy) {
    for (product, values, verdict, rules) in rows {
        let found = input::helm(values, Some(*product)).unwrap();
        assert_eq!(found.len(), 1, "{product}");
        let told = found[0].tell().unwrap();
        assert_eq!(told, *product);
        let assessed = Assessment::of("values", told, &found[0].variables);
        let what = format!("{product}: {values}\n{assessed:#?}");
        assert_eq!(assessed.verdict, *verdict, "{what}");
        assert_eq!(assessed.tenancy, tenancy, "{what}");
        for rule in *rules {
            assert!(super::has(&assessed, rule), "no {rule}: {what}");
        }
    }
}

#[test]
fn charts_give_the_verdict_of_the_product() {
    tried(DEFAULTS, Tenancy::SingleTenant);
    tried(SWITCHED_ON, Tenancy::ByocMultiTenant);
    tried(ENOUGH, Tenancy::ByocMultiTenant);
}

/// Environments as the examples of products without a public chart, or of versions beside it, have
/// them: the single-tenant start, and then multi-tenancy switched on.
#[test]
fn examples_without_a_chart_give_the_verdict_of_the_product() {
    type Case = (
        Product,
        &'static str,
        &'static str,
        Verdict,
        Verdict,
        &'static [&'static str],
    );
    const CASES: &[Case] = &[
        (
            Matcher,
            "POSTGRES_HOST=localhost\nPOSTGRES_SSLMODE=disable\nPOSTGRES_PASSWORD=matcher_dev_password\n\
             RABBITMQ_HEALTH_URL=http://localhost:15672\nDEFAULT_TENANT_ID=11111111-1111-1111-1111-111111111111\n\
             PLUGIN_AUTH_ENABLED=false\nMULTI_TENANT_ENABLED=false\n",
            "MULTI_TENANT_ENABLED=true\nMULTI_TENANT_URL=https://tm\nMULTI_TENANT_SERVICE_API_KEY=k\n\
             MULTI_TENANT_ENVIRONMENT=staging\n",
            B,
            // Nothing makes it insist on authentication.
            I,
            &["auth-required"],
        ),
        (
            Reporter,
            "ENV_NAME=development\nMONGO_HOST=reporter-mongodb\nMONGO_URI=mongodb\nRABBITMQ_HOST=reporter-rabbitmq\n\
             RABBITMQ_URI=amqp\nRABBITMQ_GENERATE_REPORT_QUEUE=reporter.generate-report.queue\n\
             PLUGIN_AUTH_ENABLED=false\nMULTI_TENANT_ENABLED=false\n",
            "MULTI_TENANT_ENABLED=true\nMULTI_TENANT_URL=https://tm\n",
            B,
            // The default that is declared for the breaker is not applied.
            R,
            &["breaker-missing", "auth-required"],
        ),
        (
            FetcherWorker,
            "ENV_NAME=development\nMONGO_HOST=fetcher-mongodb\nMONGO_URI=mongodb\nOTEL_RESOURCE_SERVICE_NAME=fetcher-worker\n\
             RABBITMQ_FETCHER_WORK_QUEUE=fetcher.extract-external-data.queue\nRABBITMQ_JOB_EVENTS_EXCHANGE=fetcher.job.events\n\
             PLUGIN_AUTH_ENABLED=false\nMULTI_TENANT_ENABLED=false\n",
            "MULTI_TENANT_ENABLED=true\nMULTI_TENANT_URL=http://tm:4003\nMULTI_TENANT_SERVICE_API_KEY=k\n\
             MULTI_TENANT_REDIS_HOST=redis\nMULTI_TENANT_REDIS_CA_CERT=eA==\n",
            B,
            R,
            &["url-http-refused", "redis-ca-refused"],
        ),
        (
            Ledger4,
            "ENV_NAME=development\nVERSION=v4.0.0\nALLOW_INSECURE_TLS=true\nDB_ONBOARDING_HOST=pg\nDB_ONBOARDING_SSLMODE=disable\n\
             DB_TRANSACTION_HOST=pg\nDB_TRANSACTION_SSLMODE=disable\nREDIS_HOST=valkey:6379\n\
             MONGO_ONBOARDING_HOST=mongo\nMONGO_ONBOARDING_URI=mongodb\nMONGO_TRANSACTION_HOST=mongo\nMONGO_TRANSACTION_URI=mongodb\n\
             RABBITMQ_HOST=rabbit\nRABBITMQ_URI=amqp\nRABBITMQ_TRANSACTION_BALANCE_OPERATION_QUEUE=q\nPLUGIN_AUTH_ENABLED=false\n",
            "MULTI_TENANT_ENABLED=true\nMULTI_TENANT_URL=https://tm\nMULTI_TENANT_SERVICE_API_KEY=k\nPLUGIN_AUTH_ENABLED=true\n\
             PLUGIN_AUTH_ADDRESS=http://plugin-auth:4000\nAPPLICATION_NAME=ledger\n",
            B,
            // The address is in the variable of the other products.
            I,
            &["auth-variable-swapped", "redis-host-missing"],
        ),
    ];
    for (product, example, on, single, multi, rules) in CASES {
        let assess = |text: &str| {
            let variables = input::dotenv(text).unwrap();
            assert_eq!(Product::of(&variables), Some(*product), "{text}");
            Assessment::of("example", *product, &variables)
        };
        let found = assess(example);
        assert_eq!(found.verdict, *single, "{product}: {found:#?}");
        let found = assess(&format!("{example}{on}"));
        assert_eq!(found.verdict, *multi, "{product}: {found:#?}");
        for rule in *rules {
            assert!(super::has(&found, rule), "{product} no {rule}: {found:#?}");
        }
    }
}
