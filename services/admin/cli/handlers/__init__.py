"""How commands are carried out: `once` what is answered once, `lasting` what goes on for a while."""
