//! TLS.

use crate::key::{Check, ConfigKey, keys};

keys! {
    boolean("ssl.allow.dn.changes", "false").low():
        "Whether a new certificate may carry another name than the old one.";
    boolean("ssl.allow.san.changes", "false").low():
        "Whether a new certificate may lack alternative names of the old one.";
    list("ssl.cipher.suites", "").per_broker():
        "Cipher suites that are accepted; empty accepts the library's choice.";
    string("ssl.client.auth", "none").check(Check::OneOf(&["required", "requested", "none"]))
        .per_broker():
        "Whether clients must show a certificate.";
    list("ssl.enabled.protocols", "TLSv1.2,TLSv1.3").per_broker():
        "TLS versions that are accepted.";
    string("ssl.endpoint.identification.algorithm", "https").low().per_broker():
        "How a server's name is compared with its certificate; empty does not compare.";
    class("ssl.engine.factory.class", "").unset().low().per_broker():
        "Java class that makes TLS engines.";
    password("ssl.key.password", "").unset().per_broker():
        "Password of the private key.";
    string("ssl.keymanager.algorithm", "SunX509").per_broker():
        "Name of the Java key manager.";
    password("ssl.keystore.certificate.chain", "").unset().per_broker():
        "This node's certificates themselves, as PEM.";
    password("ssl.keystore.key", "").unset().per_broker():
        "This node's private key itself, as PEM.";
    string("ssl.keystore.location", "").unset().per_broker():
        "File with this node's key and certificates.";
    password("ssl.keystore.password", "").unset().per_broker():
        "Password of the keystore file.";
    string("ssl.keystore.type", "JKS").per_broker():
        "Format of the keystore: JKS, PKCS12 or PEM.";
    string("ssl.principal.mapping.rules", "DEFAULT").low():
        "Rules that turn a certificate's name into a user name.";
    string("ssl.protocol", "TLSv1.3").per_broker():
        "Newest TLS version to speak.";
    string("ssl.provider", "").unset().per_broker():
        "Name of the Java security provider.";
    string("ssl.secure.random.implementation", "").unset().low().per_broker():
        "Name of the Java random number generator.";
    string("ssl.trustmanager.algorithm", "PKIX").per_broker():
        "Name of the Java trust manager.";
    password("ssl.truststore.certificates", "").unset().per_broker():
        "The certificates to trust themselves, as PEM.";
    string("ssl.truststore.location", "").unset().per_broker():
        "File with the certificates to trust.";
    password("ssl.truststore.password", "").unset().per_broker():
        "Password of the truststore file.";
    string("ssl.truststore.type", "JKS").per_broker():
        "Format of the truststore: JKS, PKCS12 or PEM.";
}
